"""What lies behind a difference from the baseline: which parts and phases changed, and what else is not as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_vramguard.units import size_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_vramguard.baseline import Comparison, SizeChange


def explain(comparison: Comparison) -> tuple[str, ...]:
    """Return at most three lines: changes of parts, of phases, and of the environment."""
    phases = [_change_text(change) for change in comparison.phases]
    phases += [f"{name} is new" for name in comparison.new_phases]
    return (
        f"parts: {_listed(map(_change_text, comparison.parts))}",
        f"allocated peak by phase: {_listed(phases)}",
        f"environment: {_listed(f'{change.key} {change.before} -> {change.now}' for change in comparison.keys)}",
    )


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(texts) or "unchanged"


def _change_text(change: SizeChange) -> str:
    """Return a change as in `activations +512.0 MiB (+50.0 %)`."""
    sign = "+" if change.growth_bytes > 0 else "-"
    grown = f"{change.name} {sign}{size_text(abs(change.growth_bytes))}"
    if not change.before_bytes:
        return f"{grown} (from nothing)"
    return f"{grown} ({change.growth_bytes / change.before_bytes:+.1%})".replace("%", " %")
