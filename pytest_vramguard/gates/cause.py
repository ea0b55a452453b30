"""What lies behind a difference from the baseline: which parts and phases changed, and what else is not as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_vramguard.units import size_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_vramguard.baseline import Comparison, KeyChange, SizeChange


def explain(comparison: Comparison) -> tuple[str, ...]:
    """Return at most three lines: changes of parts, of phases, and of the environment."""
    phases = [_change_text(change) for change in comparison.phases]
    phases += [f"{name} is new" for name in comparison.new_phases]
    return (
        f"parts: {listed(map(_change_text, comparison.parts))}",
        f"allocated peak by phase: {listed(phases)}",
        environment_line(comparison.keys),
    )


def environment_line(changes: Iterable[KeyChange]) -> str:
    """Return what else is not as it was, as in `environment: peft 0.21.1 -> 0.21.2`."""
    return f"environment: {listed(f'{change.key} {change.before} -> {change.now}' for change in changes)}"


def listed(texts: Iterable[str], nothing: str = "unchanged") -> str:
    """Return texts in a row, or `nothing`."""
    return ", ".join(texts) or nothing


def _change_text(change: SizeChange) -> str:
    """Return a change as in `activations +512.0 MiB (+50.0 %)`."""
    sign = "+" if change.growth_bytes > 0 else "-"
    grown = f"{change.name} {sign}{size_text(abs(change.growth_bytes))}"
    if not change.before_bytes:
        return f"{grown} (from nothing)"
    return f"{grown} ({change.growth_bytes / change.before_bytes:+.1%})".replace("%", " %")
