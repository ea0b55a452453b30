"""What lies behind a figure of the work that is too large: where the host waits, the kinds of launches and of copies."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final, TypeAlias

from pytest_vramguard.baseline import changed_keys
from pytest_vramguard.gates.cause import environment_line, listed
from pytest_vramguard.units import count_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_vramguard.baseline import Environment
    from pytest_vramguard.reading import SyncSite, Work, WorkName

MOST_SITES: Final = 5
"""Places that a line names."""
PIECES: Final[dict[WorkName, tuple[tuple[str, str], ...]]] = {
    "launches": (("kernels", "kernel_launches"), ("library calls", "library_calls")),
    "copied": (("bytes to the card", "bytes_to_device"), ("bytes from the card", "bytes_to_host")),
}
"""What a figure is the sum of: names, and fields of `Work`."""

SiteKey: TypeAlias = tuple[str, str, str | None]
"""A place without the number of its line, which moves when something is written above it: file, source line, library."""


def explain_limit(figure: WorkName, work: Work) -> tuple[str, ...]:
    """Return the places of the syncs, or what the figure is the sum of; at most one line."""
    if figure == "syncs":
        return (f"syncs: {_sites_text(_by_key(work), _rates(work))}",)
    return (f"is: {_pieces_text(figure, work)}",) if figure in PIECES else ()


def explain_growth(figure: WorkName, before: Work, now: Work, environments: tuple[Environment, Environment]) -> tuple[str, ...]:
    """Return at most three lines: what is new and what is gone, and what changed between the two `environments`."""
    environment = environment_line(changed_keys(*environments))
    if figure == "syncs":
        new, gone = _more(now, before), _more(before, now)
        return (
            f"new syncs: {_sites_text(_by_key(now), new)}",
            f"gone syncs: {_sites_text(_by_key(before), gone)}",
            environment,
        )
    if figure in PIECES:
        return (f"was: {_pieces_text(figure, before)}", f"is: {_pieces_text(figure, now)}", environment)
    return (environment,)


def site_text(site: SyncSite, rate: Fraction) -> str:
    """Return a place as in `train.py:31 (total += loss.item(); 1 a step)`; `rate` is how often the host waits there a step."""
    within = [part for part in (site.code, site.via and f"via {site.via}") if part]
    return f"{site.place} ({' '.join(within)}{'; ' * bool(within)}{count_text(rate)} a step)"


def _pieces_text(figure: WorkName, work: Work) -> str:
    return ", ".join(f"{count_text(Fraction(getattr(work, field), work.step_count))} {name}" for name, field in PIECES[figure])


def _more(one: Work, other: Work) -> dict[SiteKey, Fraction]:
    """Return how much more often `one` waits than `other`, by place, where it does."""
    rates, others = _rates(one), _rates(other)
    apart = {key: rate - others.get(key, 0) for key, rate in rates.items()}
    return {key: rate for key, rate in apart.items() if rate > 0}


def _rates(work: Work) -> dict[SiteKey, Fraction]:
    """Return how often the host waits a step, by place."""
    rates: dict[SiteKey, Fraction] = {}
    for site in work.syncs:
        rates[_key(site)] = rates.get(_key(site), Fraction(0)) + Fraction(site.count, work.step_count)
    return rates


def _by_key(work: Work) -> dict[SiteKey, SyncSite]:
    return {_key(site): site for site in reversed(work.syncs)}


def _key(site: SyncSite) -> SiteKey:
    file, _, number = site.place.rpartition(":")
    return (file, site.code or number, site.via)


def _sites_text(sites: Mapping[SiteKey, SyncSite], rates: Mapping[SiteKey, Fraction]) -> str:
    """Return the places with the highest rates; the rest are a number."""
    ranked: Iterable[tuple[SiteKey, Fraction]] = sorted(rates.items(), key=lambda item: -item[1])
    texts = [site_text(sites[key], rate) for key, rate in ranked]
    more = f"{len(texts) - MOST_SITES} more places"
    return listed([*texts[:MOST_SITES], *([more] if len(texts) > MOST_SITES else [])], nothing="none")
