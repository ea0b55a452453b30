"""The band gate: is the card neither wasted nor too full, and the advice that stands in where no band is set."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING, ClassVar

from pytest_vramguard.reading import Measurement, NotMeasured, OutOfMemory, Reading
from pytest_vramguard.units import gib_text, share_text
from pytest_vramguard.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pytest_vramguard.cards.catalogue import Card


@dataclass(frozen=True, kw_only=True, slots=True)
class BandGate:
    """Fails when the device peak, as a share of the card's usable bytes, lies outside the band; both ends pass.

    The ends are taken as the decimal numbers that were written: 0.7 means 7/10 and not the nearest binary fraction, so that
    each end is exact to the byte.
    """

    name: ClassVar[str] = "band"

    low: float
    """Smallest share that passes, from 0 to `high`."""
    high: float
    """Largest share that passes, from `low` to 1."""

    def judge(self, reading: Reading, card: Card) -> Verdict:
        """Decide whether the case uses `card` well.

        Compares `peak_device_bytes / card.usable_bytes` with the band, exactly. `OutOfMemory` is above every band.
        `NotMeasured` gives UNJUDGED with the same reason. Never raises.
        """
        # Every branch returns, so a reading that is added and forgotten here is mypy's "missing return statement".
        match reading:
            case NotMeasured():
                return self._verdict(Outcome.UNJUDGED, None, reading.reason)
            case OutOfMemory():
                reason = f"out of memory in phase {reading.phase!r}, above {self._band_text()}: no head-room"
                return self._verdict(Outcome.FAIL, reading.peak_device_bytes / card.usable_bytes, reason)
            case Measurement():
                return self._compare(reading.peak_device_bytes, card)

    def _compare(self, observed_bytes: int, card: Card) -> Verdict:
        lowest_bytes = ceil(_as_written(self.low) * card.usable_bytes)
        highest_bytes = floor(_as_written(self.high) * card.usable_bytes)
        share = observed_bytes / card.usable_bytes
        usage = f"{share_text(share)} of the {gib_text(card.usable_bytes)} usable on {card.key} is"
        if observed_bytes < lowest_bytes:
            gap = f"{_gap_text(lowest_bytes - observed_bytes)} below {self._band_text()}"
            return self._verdict(Outcome.FAIL, share, f"{usage} {gap}: the card is larger than the recipe needs")
        if observed_bytes > highest_bytes:
            gap = f"{_gap_text(observed_bytes - highest_bytes)} above {self._band_text()}"
            return self._verdict(Outcome.FAIL, share, f"{usage} {gap}: no head-room")
        return self._verdict(Outcome.PASS, share, f"{usage} inside {self._band_text()}")

    def _band_text(self) -> str:
        return f"the band of {share_text(self.low)} to {share_text(self.high)}"

    def _verdict(self, outcome: Outcome, observed_share: float | None, reason: str) -> Verdict:
        return Verdict(
            gate=self.name,
            metric="peak device bytes / usable bytes",
            outcome=outcome,
            observed=observed_share,
            limit=(self.low, self.high),
            unit="share",
            reason=reason,
        )


def advise(share: float) -> str:
    """Return what a device peak of `share` of the card's usable bytes (0 to 1) suggests, in one phrase.

    Under 50 % is over-provisioned, 70 to 90 % is good (both ends included), over 95 % is tight.
    """
    usage = f"{share_text(share)} of the card"
    if share < 0.50:
        return f"{usage}: over-provisioned, a smaller card would do"
    if share < 0.70:
        return f"{usage}: room to spare, a longer sequence or a larger batch may fit"
    if share <= 0.90:
        return f"{usage}: good"
    if share <= 0.95:
        return f"{usage}: little head-room, a longer sequence may not fit"
    return f"{usage}: tight, a longer sequence or another driver may end in out of memory"


def _as_written(share: float) -> Fraction:
    # repr gives the shortest decimal that reads back as the same float, which is the one in the marker or the TOML file.
    return Fraction(repr(share))


def _gap_text(gap_bytes: int) -> str:
    return f"{gib_text(gap_bytes)} ({gap_bytes} bytes)"
