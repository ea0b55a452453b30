"""The answer of one gate to one reading."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Outcome(str, Enum):
    """What a gate can say. UNJUDGED is never a pass."""

    PASS = "PASS"
    FAIL = "FAIL"
    UNJUDGED = "UNJUDGED"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What one gate decided, with everything that a reader needs to check it."""

    gate: str
    """Name of the gate: `fit`, `band`, `phase`, `longest`, `creep`, `growth`, `shrink`."""
    metric: str
    """What was compared, always saying which peak: `peak device bytes`."""
    outcome: Outcome
    observed: float | None
    """In `unit`; None where nothing could be observed."""
    limit: float | tuple[float, float] | None
    """In `unit`; a pair is an inclusive range."""
    unit: str
    """`bytes`, `share`, or what is counted: `tokens`, `samples`."""
    reason: str
    """One sentence: the comparison in words, or why there was none."""
    required: bool = True
    """Whether UNJUDGED fails the test. Only a baseline that nobody has accepted yet may leave it green, and is listed."""
    causes: tuple[str, ...] = ()
    """What lies behind it, one line each, where the gate can tell."""

    @property
    def is_red(self) -> bool:
        """Whether the test that was judged must fail."""
        return self.outcome is Outcome.FAIL or (self.outcome is Outcome.UNJUDGED and self.required)
