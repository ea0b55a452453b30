"""The longest gate: does as long a sequence, or as large a batch, fit the target as the project promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from pytest_vramguard.reading import Measurement, NotMeasured, OutOfMemory, Reading
from pytest_vramguard.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pytest_vramguard.cards.catalogue import Card

UNITS: Final = {"seq_len": "tokens", "batch_size": "samples"}
"""What each quantity that `vram.longest` varies is counted in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LongestGate:
    """Fails when the largest value that fits is below `minimum`; equal passes."""

    name: ClassVar[str] = "longest"

    quantity: str
    """`seq_len` or `batch_size`."""
    minimum: int

    def judge(self, reading: Reading, card: Card) -> Verdict:  # noqa: ARG002 (what fits the card was found by running)
        """Decide whether enough fits.

        `OutOfMemory` fails. `NotMeasured`, and a case that did not look for this quantity, give UNJUDGED with the reason.
        Never raises.
        """
        # Every branch returns, so a reading that is added and forgotten here is mypy's "missing return statement".
        match reading:
            case NotMeasured():
                return self._verdict(Outcome.UNJUDGED, None, reading.reason)
            case OutOfMemory():
                return self._verdict(Outcome.FAIL, None, f"out of memory in phase {reading.phase!r}")
            case Measurement():
                return self._compare(reading)

    def _compare(self, reading: Measurement) -> Verdict:
        found = reading.longest
        if found is None or found.quantity != self.quantity:
            looked_for = "none" if found is None else found.quantity
            reason = f"the test looked for {looked_for}, expected {self.quantity}; call vram.longest(recipe, {self.quantity!r})"
            return self._verdict(Outcome.UNJUDGED, None, reason)
        fits = found.value >= self.minimum
        reason = (
            f"{found.value} {UNITS[self.quantity]} fit, {abs(found.value - self.minimum)} {'more' if fits else 'fewer'} than"
        )
        return self._verdict(
            Outcome.PASS if fits else Outcome.FAIL, found.value, f"{reason} the {self.minimum} of min_{self.quantity}"
        )

    def _verdict(self, outcome: Outcome, observed: int | None, reason: str) -> Verdict:
        return Verdict(
            gate=self.name,
            metric=f"largest {self.quantity} that fits",
            outcome=outcome,
            observed=observed,
            limit=self.minimum,
            unit=UNITS[self.quantity],
            reason=reason,
        )
