"""The blocks at the peak by adapter, logits and workspace, by module, and by the place that allocated them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from pytest_vramguard.meter.blocks import Owner
from pytest_vramguard.reading import Origins, Site, SiteBytes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pytest_vramguard.meter.blocks import Block

MOST_SITES: Final = 20
"""Sites that are kept; what others held is summed."""
MOST_SURVIVORS: Final = 5
"""Sites of surviving blocks that are kept."""
MOST_MODULES: Final = 100
"""Modules that are kept, of models whose layers have names instead of numbers."""


def origins_of(
    alive: Iterable[Block], passing: Iterable[Block], survivors: Iterable[Block], output_paths: Collection[str]
) -> Origins:
    """Return where the blocks `alive` at the peak came from.

    `passing` are those of them that are activations, `survivors` what steps left behind. Modules of `output_paths` make logits.
    """
    alive = tuple(alive)
    sites = _by_site(alive)
    modules = Counter[str]()
    for block in alive:
        modules[block.module] += block.size_bytes
    del modules[""]
    return Origins(
        adapters_bytes=_bytes_of(alive, Owner.ADAPTERS),
        logits_bytes=sum(block.size_bytes for block in passing if block.ran_in in output_paths),
        workspace_bytes=_bytes_of(alive, Owner.WORKSPACE),
        modules=tuple(modules.most_common(MOST_MODULES)),
        sites=sites[:MOST_SITES],
        other_sites_bytes=sum(held.size_bytes for held in sites[MOST_SITES:]),
        survivors=_by_site(survivors)[:MOST_SURVIVORS],
    )


def _by_site(blocks: Iterable[Block]) -> tuple[SiteBytes, ...]:
    """Return what each site holds, the largest first."""
    sizes = Counter[Site]()
    for block in blocks:
        sizes[block.site or Site()] += block.size_bytes
    return tuple(SiteBytes(site=site, size_bytes=size_bytes) for site, size_bytes in sizes.most_common())


def _bytes_of(blocks: Iterable[Block], owner: Owner) -> int:
    return sum(block.size_bytes for block in blocks if block.owner is owner)
