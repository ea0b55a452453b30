"""What the steady steps of a case ask of the emulated card, as the libraries that stand in for CUDA's count it."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pytest_vramguard.devices.emulated import libraries
from pytest_vramguard.devices.emulated.known.places import Line, Site, asking_site
from pytest_vramguard.reading import SyncSite, Work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_vramguard.devices.emulated.known.mode import KnownValues

NO_SITE: Final = Site(line=Line(file="a place that could not be told", number=0), via=None)


class WorkWatch:
    """Counts step by step; one object serves one case."""

    def __init__(self, values: KnownValues) -> None:
        """Start without a step; `values` sees every operator, and counts what it computes for one step."""
        self._values = values
        self._step_count = 0
        self._counted: Counter[str] = Counter()
        self._sites: Counter[Site] = Counter()
        self._flops = 0

    @contextmanager
    def step(self) -> Iterator[None]:
        """Count what the code inside asks for, as one step; nothing of it if it raises.

        Operations are counted in the first of these steps alone, since looking at each product takes time.
        """
        sites: Counter[Site] = Counter()
        self._values.flops = 0 if self._step_count == 0 else None
        before = libraries.counted()
        libraries.listen(lambda: sites.update((asking_site(),)))
        try:
            yield
            after = libraries.counted()
        finally:
            libraries.listen(None)
            flops, self._values.flops = self._values.flops, None
        # What a listener raises is swallowed by ctypes: a wait that it lost is counted all the same.
        sites[NO_SITE] += after["synchronisations"] - before["synchronisations"] - sites.total()
        self._step_count += 1
        self._counted.update({name: after[name] - before[name] for name in after})
        self._sites.update(+sites)
        self._flops += flops or 0

    @property
    def work(self) -> Work:
        """What was counted so far."""
        return Work(
            step_count=self._step_count,
            kernel_launches=self._counted["launches"],
            library_calls=self._counted["compute_calls"],
            syncs=tuple(_sync_site(site, count) for site, count in self._sites.most_common()),
            bytes_to_device=self._counted["bytes_to_device"],
            bytes_to_host=self._counted["bytes_to_host"],
            driver_allocations=self._counted["driver_allocations"],
            flops=self._flops,
        )


def _sync_site(site: Site, count: int) -> SyncSite:
    via = None if site.via is None else site.via.text
    return SyncSite(place=site.line.text, code=site.line.code, via=via, count=count)
