"""What the harness passes around: a published row, the run that rebuilds it, and what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Row: TypeAlias = Mapping[str, Any]
"""One line of a file of published measurements; see the README beside those files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What a child process shall do, and how its answer becomes the counters of the row."""

    script: str
    """Module in the folder `runs`."""
    era: str
    """Key in `eras.toml`."""
    card: str
    """Key in the catalogue of cards."""
    settings: Mapping[str, Any]
    counters: Callable[[Mapping[str, Any]], Mapping[str, float]]
    """Turns what was counted into the value of each metric."""
    packages: tuple[str, ...] = ()
    """Requirements that differ from the era's."""
    packages_today: tuple[str, ...] = ()
    """Requirements beside the versions of this process, where those are used; what they need themselves is named too."""
    lowered: str | None = None
    """Why this is not quite the run of the row, which lowers its grade by one; None if it is."""
    contradiction: Callable[[Mapping[str, Any]], str | None] = lambda _: None
    """Says of what was counted why the row contradicts itself, so that no value of it can be compared; None if it does not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NotRebuilt:
    """A row that no run here can stand for."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A row with its name, what was measured, and how to rebuild it."""

    source: str
    """Name of the file."""
    identity: str
    """What tells the row from the others of its file."""
    grade: str
    measured: Mapping[str, float]
    """By metric; bytes."""
    run: Run | NotRebuilt


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One metric of one row."""

    source: str
    identity: str
    metric: str
    grade: str
    measured: float
    emulated: float | None
    era: str
    versions: Mapping[str, str]
    note: str | None
    """Why the grade is lowered, or why there is no emulated value."""

    @property
    def relative_error(self) -> float | None:
        """How far the emulated value is above the measured one, as a share of it."""
        return None if self.emulated is None else self.emulated / self.measured - 1


def lowered(grade: str) -> str:
    """Return the next grade below; C is the last."""
    return {"A": "B", "B": "C"}.get(grade, "C")
