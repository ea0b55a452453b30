"""The phase gate: does one named stretch of a case stay below a limit of its own.

It judges the device peak while the phase lasts. That includes what the allocator still keeps from earlier phases, as the card
itself does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pytest_vramguard.reading import Measurement, NotMeasured, OutOfMemory, Reading
from pytest_vramguard.units import gib_text, size_text
from pytest_vramguard.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pytest_vramguard.allowance import PhaseLimit
    from pytest_vramguard.cards.catalogue import Card


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseGate:
    """Fails when the device peak of a phase is larger than its limit, or when the phase ran out of memory; equal passes."""

    name: ClassVar[str] = "phase"

    limit: PhaseLimit

    def judge(self, reading: Reading, card: Card) -> Verdict:  # noqa: ARG002 (the limit is the project's, not the card's)
        """Decide whether the phase keeps to its limit.

        After an `OutOfMemory` it fails if that happened inside of it, and is judged as always if it had ended before.
        `NotMeasured`, and a case without the phase, give UNJUDGED with the reason. Never raises.
        """
        # Every branch returns, so a reading that is added and forgotten here is mypy's "missing return statement".
        match reading:
            case NotMeasured():
                return self._verdict(Outcome.UNJUDGED, None, reading.reason)
            case OutOfMemory() if self.limit.phase in (reading.phase, *reading.phases_around):
                inside = "" if reading.phase == self.limit.phase else f", inside {reading.phase!r}"
                reason = f"out of memory{inside}: {reading.message.strip().partition(chr(10))[0]}"
                return self._verdict(Outcome.FAIL, self._observed_bytes(reading), reason)
            case OutOfMemory() | Measurement():
                return self._compare(reading)

    def _compare(self, reading: Measurement | OutOfMemory) -> Verdict:
        observed_bytes = self._observed_bytes(reading)
        if observed_bytes is None:
            names = ", ".join(phase.name for phase in reading.phases) or "none"
            before = f" before it was out of memory in phase {reading.phase!r}" if isinstance(reading, OutOfMemory) else ""
            reason = f"the case had no phase {self.limit.phase!r}{before}, it had: {names}; correct the name, or drop the limit"
            return self._verdict(Outcome.UNJUDGED, None, reason)
        gap_bytes = observed_bytes - self.limit.max_bytes
        reason = (
            f"{gib_text(observed_bytes)} is {size_text(abs(gap_bytes))} ({abs(gap_bytes)} bytes) "
            f"{'over' if gap_bytes > 0 else 'under'} the {size_text(self.limit.max_bytes)} of phase {self.limit.phase!r}"
        )
        return self._verdict(Outcome.FAIL if gap_bytes > 0 else Outcome.PASS, observed_bytes, reason)

    def _observed_bytes(self, reading: Measurement | OutOfMemory) -> int | None:
        return next((phase.peak_device_bytes for phase in reading.phases if phase.name == self.limit.phase), None)

    def _verdict(self, outcome: Outcome, observed_bytes: int | None, reason: str) -> Verdict:
        return Verdict(
            gate=self.name,
            metric=f"peak device bytes of phase {self.limit.phase!r}",
            outcome=outcome,
            observed=observed_bytes,
            limit=self.limit.max_bytes,
            unit="bytes",
            reason=reason,
        )
