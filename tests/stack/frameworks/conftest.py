"""A training that nobody here wrote, measured as a case would be."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import pytest

from pytest_vramguard.devices.emulated import EmulatedDevice, libraries
from pytest_vramguard.meter.meter import Meter, clean
from pytest_vramguard.reading import Measurement
from pytest_vramguard.recipes.callback import StepCallback
from pytest_vramguard.recipes.leftovers import nothing_left

if TYPE_CHECKING:
    from collections.abc import Callable


Training: TypeAlias = "Callable[[StepCallback], object]"
"""Trains, and may give the callback to a Trainer."""
Runner: TypeAlias = "Callable[[Training], Ran]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What a training came to on the emulated card."""

    reading: Measurement
    gaps: tuple[str, ...]
    """Why a case would not be judged; empty if it would be."""
    notes: tuple[str, ...]

    @property
    def peaks(self) -> tuple[int, int]:
        """Allocated and reserved, in bytes."""
        return self.reading.peak_allocated_bytes, self.reading.peak_reserved_bytes


def ran(train: Training) -> Ran:
    """Run `train` on the emulated card in place, in a clean state."""
    device = EmulatedDevice()
    clean()
    with nothing_left(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the stack about itself are not ours to mend
        libraries.forget_refused()
        meter = Meter(timed=False, warmup_steps=0, target_context_bytes=0, measures_context=True)
        with device.running():
            meter.begin()
            train(StepCallback(meter))
            reading = meter.end(None)
    assert isinstance(reading, Measurement)
    assert 0 == reading.leftover_bytes
    return Ran(reading=reading, gaps=device.gaps(), notes=device.notes())


@pytest.fixture
def twice() -> Runner:
    """Return a function that runs a training twice, and demands that it can be judged and peaks at the same bytes."""

    def run(train: Training) -> Ran:
        first, second = ran(train), ran(train)

        assert () == first.gaps == second.gaps
        assert first.peaks == second.peaks
        return second

    return run


@pytest.fixture
def ran_on_card() -> Runner:
    """Return a function that runs something once on the emulated card."""
    return ran
