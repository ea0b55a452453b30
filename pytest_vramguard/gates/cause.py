"""What lies behind a difference from the baseline: which parts and phases changed, and what else is not as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pytest_vramguard.gates.blame import blamed_modules, blamed_sites
from pytest_vramguard.units import size_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_vramguard.baseline import Comparison, KeyChange, SizeChange


MOST_TIMES: Final = 10
"""Growth in multiples of what there was, above which a share says nothing to a reader."""


def explain(comparison: Comparison) -> tuple[str, ...]:
    """Return at most six lines: what changed of the allocated peak by part, module, line and phase, and of the environment."""
    phases = [_change_text(change) for change in comparison.phases]
    phases += [f"{name} is new" for name in comparison.new_phases]
    finer = f"; finer: {listed(map(_change_text, comparison.finer_parts))}" if comparison.finer_parts else ""
    return (
        f"parts: {listed(map(_change_text, comparison.parts))}{finer}",
        *_origin_lines(comparison),
        f"allocated peak by phase: {listed(phases)}",
        environment_line(comparison.keys),
    )


def environment_line(changes: Iterable[KeyChange]) -> str:
    """Return what else is not as it was, as in `environment: peft 0.21.1 -> 0.21.2`."""
    return f"environment: {listed(f'{change.key} {change.before} -> {change.now}' for change in changes)}"


def listed(texts: Iterable[str], nothing: str = "unchanged") -> str:
    """Return texts in a row, or `nothing`."""
    return ", ".join(texts) or nothing


def _origin_lines(comparison: Comparison) -> Iterable[str]:
    """Yield the modules and lines in which the change lies, where it is known of both."""
    before, now = comparison.baseline.measurement, comparison.measurement
    if before.origins is None:
        if now.origins is not None:
            yield "the baseline does not say which lines and modules allocated; accept it anew to have them compared"
        return
    change_bytes = now.peak_allocated_bytes - before.peak_allocated_bytes
    if now.origins is None or change_bytes == 0:
        return
    modules = blamed_modules(before.origins, now.origins, change_bytes)
    if modules:
        yield f"modules: {listed(map(_change_text, modules))}"
    for site in blamed_sites(before.origins, now.origins, change_bytes):
        yield f"at {site.name}: {_growth_text(site)}"


def _change_text(change: SizeChange) -> str:
    """Return a change as in `activations +512.0 MiB (+50.0 %)`; of what there was little of before, that instead of a share."""
    grown = f"{change.name} {_growth_text(change)}"
    if not change.before_bytes:
        return f"{grown} (from nothing)"
    if change.growth_bytes >= MOST_TIMES * change.before_bytes:
        return f"{grown} (from {size_text(change.before_bytes)})"
    return f"{grown} ({change.growth_bytes / change.before_bytes:+.1%})".replace("%", " %")


def _growth_text(change: SizeChange) -> str:
    sign = "+" if change.growth_bytes > 0 else "-"
    return f"{sign}{size_text(abs(change.growth_bytes))}"
