"""Reads of values that nobody computed, by the place that asked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pytest_vramguard.devices.emulated.known.places import asking_place

if TYPE_CHECKING:
    from torch import Tensor

MOST_PLACES: Final = 5
"""Places that a note names."""


@dataclass(kw_only=True, slots=True)
class ReadLog:
    """What was read although it is not known."""

    reads: Counter[str] = field(default_factory=Counter)
    """Times that 0 was given in place of an unknown whole number or truth value, by place."""
    metrics: Counter[str] = field(default_factory=Counter)
    """Times that it was given in place of a floating-point one, by place."""
    shapes: Counter[str] = field(default_factory=Counter)
    """Times that such a value decided a shape, by place."""
    balanced: Counter[str] = field(default_factory=Counter)
    """Times that a router's choice was taken to be balanced, by place."""
    times: Counter[str] = field(default_factory=Counter)
    """Times that the time between two events was asked for, by place."""
    assumed: Counter[str] = field(default_factory=Counter)
    """Times that a rank which is not run was taken to say what another one says, by place."""

    def note_assumed(self) -> None:
        """Count a collective in which one rank spoke for others."""
        self.assumed[asking_place()] += 1

    def note_read(self, *read: Tensor) -> None:
        """Count a read of unknown values for the code that asked.

        A single floating-point value is a loss, a norm or a metric, and decides nothing as long as it is only printed; so it is
        counted apart. One that the host compares does decide: code that stops early by its loss does so by a loss of 0.
        """
        metric = len(read) == 1 and read[0].is_floating_point()
        (self.metrics if metric else self.reads)[asking_place()] += 1

    def note_balanced(self) -> None:
        """Count a choice of experts for the code that asked."""
        self.balanced[asking_place()] += 1

    def note_time(self) -> None:
        """Count a time for the code that asked."""
        self.times[asking_place()] += 1

    def note_shape(self, operator: str) -> None:
        """Count a shape that an unknown value decided."""
        self.shapes[f"{operator.removeprefix('aten::')} at {asking_place()}"] += 1


def places_text(places: Counter[str]) -> str:
    """Return the places and how often each asked, the most frequent first."""
    named = [f"{place} ({times}x)" if times > 1 else place for place, times in places.most_common(MOST_PLACES)]
    more = len(places) - len(named)
    return ", ".join(named) + (f" and {more} more places" if more else "")
