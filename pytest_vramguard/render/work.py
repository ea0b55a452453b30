"""What a steady step asked of the card, as plain text: counts and sizes, never a time."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_vramguard.gates.work_cause import site_text
from pytest_vramguard.units import count_text, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_vramguard.reading import Work

MOST_SITES = 3
"""Places that a line names."""


def work_text(work: Work) -> str:
    """Return the figures of a step; `work` must have one."""
    figures = work.a_step
    return (
        f"launches {count_text(figures['launches'])}, syncs {count_text(figures['syncs'])}, "
        f"copied {size_text(float(figures['copied']))}, driver allocations {count_text(figures['driver_allocations'])}, "
        f"FLOP {float(figures['flops']):.4g}"
    )


def work_lines(work: Work | None) -> Iterable[str]:
    """Return the figures of a step and where the host waited; nothing where nothing was counted."""
    if work is None or work.step_count == 0:
        return
    yield f"a steady step: {work_text(work)}"
    if work.syncs:
        sites = [site_text(site, Fraction(site.count, work.step_count)) for site in work.syncs[:MOST_SITES]]
        more = [f"{len(work.syncs) - MOST_SITES} more places"] * (len(work.syncs) > MOST_SITES)
        yield f"  syncs: {', '.join([*sites, *more])}"
