"""Reads of values that nobody computed, by the place that asked."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

OWN_FOLDER: Final = str(Path(__file__).parent)
MACHINERY: Final = ("torch", "triton", "typing_extensions")
"""Packages that ask on behalf of others; the last wraps what torch has deprecated."""
BACKWARD: Final = "the backward pass"
"""The place of what autograd asks in threads of its own, whose stacks begin there."""
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
        self.assumed[_place()] += 1

    def note_read(self, *read: Tensor) -> None:
        """Count a read of unknown values for the code that asked.

        A single floating-point value is a loss, a norm or a metric, and decides nothing as long as it is only printed; so it is
        counted apart. One that the host compares does decide: code that stops early by its loss does so by a loss of 0.
        """
        metric = len(read) == 1 and read[0].is_floating_point()
        (self.metrics if metric else self.reads)[_place()] += 1

    def note_balanced(self) -> None:
        """Count a choice of experts for the code that asked."""
        self.balanced[_place()] += 1

    def note_time(self) -> None:
        """Count a time for the code that asked."""
        self.times[_place()] += 1

    def note_shape(self, operator: str) -> None:
        """Count a shape that an unknown value decided."""
        self.shapes[f"{operator.removeprefix('aten::')} at {_place()}"] += 1


def places_text(places: Counter[str]) -> str:
    """Return the places and how often each asked, the most frequent first."""
    named = [f"{place} ({times}x)" if times > 1 else place for place, times in places.most_common(MOST_PLACES)]
    more = len(places) - len(named)
    return ", ".join(named) + (f" and {more} more places" if more else "")


def _place() -> str:
    """Return file and line of the innermost frame outside of torch, of Triton and of this package."""
    frame = sys._getframe(2)
    while frame.f_back is not None and _is_machinery(frame.f_globals.get("__name__", ""), frame.f_code.co_filename):
        frame = frame.f_back
    if _is_machinery(frame.f_globals.get("__name__", ""), frame.f_code.co_filename):
        return BACKWARD
    path = Path(frame.f_code.co_filename)
    return f"{'/'.join(path.parts[-2:])}:{frame.f_lineno}"


def _is_machinery(module: str, filename: str) -> bool:
    return module.partition(".")[0] in MACHINERY or filename.startswith(OWN_FOLDER)
