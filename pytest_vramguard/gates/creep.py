"""The creep gate: does every step leave a little more behind than the one before, as a list that keeps each output does.

Such a case passes every other gate for as long as it is short, and is out of memory at step 1600.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise
from math import ceil
from typing import TYPE_CHECKING, ClassVar, Final

from pytest_vramguard.reading import Measurement, NotMeasured, Origins, OutOfMemory, Reading
from pytest_vramguard.units import size_text
from pytest_vramguard.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_vramguard.cards.catalogue import Card

STEADY_STEPS: Final = 6
"""Steps after the first that a judgement needs. Of 6 levels in random order 1 of 120 looks like a rise (at most one of the 15
pairs the wrong way round: 1 + 5 orders of 720)."""
TOLERANCE_BYTES: Final = 4096
"""Rise a step that is no creep: eight of the allocator's smallest blocks, such as losses that are kept for a log. In 100,000
steps it comes to 0.4 GiB."""
MOST_NAMED: Final = 2
"""Lines that are named."""
MOST_LEVELS: Final = 200
"""Levels that are compared pair by pair; of more, as many are taken evenly."""
FALLS_AMONG_RISES: Final = 0.1
"""Share of pairs of steps that may go down while the whole still counts as a rise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CreepGate:
    """Fails when the memory allocated after each step rises by more than `max_bytes` and a tolerance a step; equal passes.

    The first step is left out: it makes the optimizer's state. A single jump is no creep, whenever it happens, so the rise is
    taken without its largest one, and must go on in the second half of the steps. Levels that go up and down, as with batches
    of changing length, are none either.
    """

    name: ClassVar[str] = "creep"

    max_bytes: int
    """Rise a step that is allowed, 0 upwards, besides `TOLERANCE_BYTES`."""

    def judge(self, reading: Reading, card: Card) -> Verdict:  # noqa: ARG002 (steps are compared with each other)
        """Decide whether memory creeps.

        `OutOfMemory` fails. `NotMeasured` and fewer than `STEADY_STEPS` steps after the first give UNJUDGED with the reason.
        Never raises.
        """
        # Every branch returns, so a reading that is added and forgotten here is mypy's "missing return statement".
        match reading:
            case NotMeasured():
                return self._verdict(Outcome.UNJUDGED, None, reading.reason)
            case OutOfMemory():
                return self._verdict(Outcome.FAIL, None, f"out of memory in phase {reading.phase!r}")
            case Measurement():
                return self._compare(reading.after_step_bytes[1:], reading.origins)

    def _compare(self, levels_bytes: tuple[int, ...], origins: Origins | None) -> Verdict:
        count = len(levels_bytes)
        if count < STEADY_STEPS:
            reason = (
                f"got {count} steps after the first, expected at least {STEADY_STEPS}; give the marker steps={STEADY_STEPS}"
            )
            return self._verdict(Outcome.UNJUDGED, None, reason)
        rise_bytes = levels_bytes[-1] - levels_bytes[0]
        jump_bytes = max(after - before for before, after in pairwise(levels_bytes))
        steady_bytes = max(rise_bytes - jump_bytes, 0)
        a_step_bytes = ceil(steady_bytes / (count - 2))
        observed = f"{size_text(abs(rise_bytes))} {'more' if rise_bytes >= 0 else 'less'} after {count} steady steps"
        if not _mostly_rises(levels_bytes):
            return self._verdict(Outcome.PASS, a_step_bytes, f"{observed}, no steady rise")
        if steady_bytes <= self._limit_bytes * (count - 2):
            return self._verdict(Outcome.PASS, a_step_bytes, f"{observed}, without the largest jump within the limit")
        reason = f"{observed}, {size_text(a_step_bytes)} a step besides the largest jump: something keeps what each step made"
        levels = ", ".join(size_text(level) for level in levels_bytes[:STEADY_STEPS])
        after = f"after each step: {levels}{', ...' * (count > STEADY_STEPS)}"
        return self._verdict(Outcome.FAIL, a_step_bytes, reason, (after, *_survivor_lines(origins)))

    @property
    def _limit_bytes(self) -> int:
        return self.max_bytes + TOLERANCE_BYTES

    def _verdict(self, outcome: Outcome, observed_bytes: int | None, reason: str, causes: tuple[str, ...] = ()) -> Verdict:
        return Verdict(
            gate=self.name,
            metric="rise a step of the allocated bytes after each step",
            outcome=outcome,
            observed=observed_bytes,
            limit=self._limit_bytes,
            unit="bytes",
            reason=reason,
            causes=causes,
        )


def _survivor_lines(origins: Origins | None) -> Iterable[str]:
    """Return where what steps left behind was allocated, or what to do to learn it."""
    if origins is None:
        return ('lines that allocate are recorded where max_creep is asked for; give the marker max_creep="0"',)
    if not origins.survivors:
        return ("no line is known: none of the recorded steps left anything behind; more are recorded with warmup=4",)
    named = origins.survivors[:MOST_NAMED]
    return tuple(f"kept: {size_text(held.size_bytes)} of {held.site.text}" for held in named)


def _mostly_rises(levels_bytes: tuple[int, ...]) -> bool:
    """Return whether almost no later level is below an earlier one, and the second half rises too."""
    compared = levels_bytes[:: ceil(len(levels_bytes) / MOST_LEVELS)]
    rises = sum(later > earlier for earlier, later in combinations(compared, 2))
    falls = sum(later < earlier for earlier, later in combinations(compared, 2))
    return falls <= FALLS_AMONG_RISES * rises and levels_bytes[-1] > levels_bytes[len(levels_bytes) // 2]
