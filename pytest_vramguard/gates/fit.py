"""The fit gate: does the case stay within its card, and within what the project allows itself.

It judges the device peak and not the allocated one, since a card is full when the context, the libraries and the allocator's
cached blocks leave no room, whatever the live tensors hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pytest_vramguard.reading import Measurement, NotMeasured, OutOfMemory, Reading
from pytest_vramguard.units import gib_text, share_text, size_text
from pytest_vramguard.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pytest_vramguard.cards.catalogue import Card


@dataclass(frozen=True, kw_only=True, slots=True)
class FitGate:
    """Fails when the device peak is larger than the card's usable bytes or than `max_bytes`; equal passes."""

    name: ClassVar[str] = "fit"

    max_bytes: int | None = None
    """What the project allows itself (`max_gb` of the marker), at least 1; None leaves the card as the only limit."""

    def judge(self, reading: Reading, card: Card) -> Verdict:
        """Decide whether the case fits `card`.

        Compares `peak_device_bytes` with the smaller of `card.usable_bytes` and `max_bytes`; equal passes.
        `OutOfMemory` fails whatever its peak. `NotMeasured` gives UNJUDGED with the same reason. Never raises.
        """
        # Every branch returns, so a reading that is added and forgotten here is mypy's "missing return statement".
        match reading:
            case NotMeasured():
                return self._verdict(card, Outcome.UNJUDGED, None, reading.reason)
            case OutOfMemory():
                reason = f"out of memory in phase {reading.phase!r}: {_first_line(reading.message)}"
                return self._verdict(card, Outcome.FAIL, reading.peak_device_bytes, reason, _refused_line(reading))
            case Measurement():
                return self._compare(reading.peak_device_bytes, card)

    def _compare(self, observed_bytes: int, card: Card) -> Verdict:
        limit_bytes = self._limit_bytes(card)
        fits = observed_bytes <= limit_bytes
        gap_bytes = abs(limit_bytes - observed_bytes)
        reason = (
            f"{gib_text(observed_bytes)} is {gib_text(gap_bytes)} ({gap_bytes} bytes, {share_text(gap_bytes / limit_bytes)}) "
            f"{'under' if fits else 'over'} the {self._limit_text(card)}"
        )
        return self._verdict(card, Outcome.PASS if fits else Outcome.FAIL, observed_bytes, reason)

    def _limit_bytes(self, card: Card) -> int:
        return card.usable_bytes if self.max_bytes is None else min(card.usable_bytes, self.max_bytes)

    def _limit_text(self, card: Card) -> str:
        limit_bytes = self._limit_bytes(card)
        if limit_bytes == card.usable_bytes:
            return f"{gib_text(limit_bytes)} usable on {card.key}"
        return f"{gib_text(limit_bytes)} of max_gb"

    def _verdict(
        self, card: Card, outcome: Outcome, observed_bytes: int | None, reason: str, causes: tuple[str, ...] = ()
    ) -> Verdict:
        return Verdict(
            gate=self.name,
            metric="peak device bytes",
            outcome=outcome,
            observed=observed_bytes,
            limit=self._limit_bytes(card),
            unit="bytes",
            reason=reason,
            causes=causes,
        )


def _refused_line(reading: OutOfMemory) -> tuple[str, ...]:
    """Return what asked for the memory that was not there, where that is known."""
    held = reading.refused
    return () if held is None else (f"{size_text(held.size_bytes)} were asked for at {held.site.text}",)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
