"""The meter reads true peaks and parts from torch, on whatever card is in place."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from pytest_vramguard.meter.memory_errors import out_of_memory_in, release_last_error
from pytest_vramguard.meter.meter import Meter, clean
from pytest_vramguard.reading import Measurement, OutOfMemory

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.stack]

MIB = 2**20
CONTEXT_BYTES = 100 * MIB
WEIGHT_BYTES = 4 * MIB  # 1024 x 1024 numbers of 4 bytes


@pytest.fixture
def meter() -> Iterator[Meter]:
    """Measure the test with a meter that does not time."""
    with measuring() as opened:
        yield opened


@contextmanager
def measuring(*, timed: bool = False, warmup_steps: int = 1) -> Iterator[Meter]:
    """Give a meter that has begun, and end it if the code inside did not."""
    clean()
    meter = Meter(timed=timed, warmup_steps=warmup_steps, target_context_bytes=CONTEXT_BYTES, measures_context=True)
    meter.begin()
    yield meter


def measured(meter: Meter) -> Measurement:
    """End a case that ran through."""
    reading = meter.end(None)
    assert isinstance(reading, Measurement)
    return reading


def train(meter: Meter, steps: int) -> None:
    """Train two linear layers without bias, each of `WEIGHT_BYTES`, with Adam."""
    with meter.phase("load"):
        model = nn.Sequential(nn.Linear(1024, 1024, bias=False), nn.ReLU(), nn.Linear(1024, 1024, bias=False)).cuda()
        optimizer = torch.optim.Adam(model.parameters(), foreach=False)
    for _ in range(steps):
        with meter.step(tokens=64):
            model(torch.empty(64, 1024, device="cuda")).sum().backward()
            optimizer.step()
            optimizer.zero_grad()


def test_parts_are_exact_and_sum_to_the_peak(meter: Meter) -> None:
    """Weights, gradients and Adam's two states have their exact sizes, and the parts sum to the peak to the byte."""
    train(meter, steps=3)

    reading = measured(meter)

    assert 2 * WEIGHT_BYTES == reading.parts.weights_bytes
    assert 2 * WEIGHT_BYTES == reading.parts.gradients_bytes
    assert 4 * WEIGHT_BYTES == pytest.approx(reading.parts.optimizer_bytes, abs=4096)  # and two step counters
    assert reading.peak_allocated_bytes == reading.parts.total_bytes


def test_phases_have_peaks_of_their_own(meter: Meter) -> None:
    """Loading holds weights alone; the first step adds gradients and states; the peak of the case is the largest phase's."""
    train(meter, steps=3)

    reading = measured(meter)
    peaks = {phase.name: phase.peak_allocated_bytes for phase in reading.phases}

    assert ["load", "first step", "optimizer", "steady"] == list(peaks)
    assert 2 * WEIGHT_BYTES == peaks["load"]
    assert peaks["load"] < peaks["first step"] <= peaks["steady"] == reading.peak_allocated_bytes


def test_the_states_of_the_optimizer_are_a_phase(meter: Meter) -> None:
    """The optimizer's first step, inside the first step, begins with weights and gradients, and adds the states."""
    train(meter, steps=3)

    peaks = {phase.name: phase.peak_allocated_bytes for phase in measured(meter).phases}

    assert 8 * WEIGHT_BYTES <= peaks["optimizer"] <= peaks["first step"]


def test_a_card_that_the_optimizer_fills(meter: Meter) -> None:
    """Out of memory while the states are made is told as that phase, with the step around it."""
    weight = nn.Parameter(torch.empty(8, device="cuda"))
    weight.grad = torch.empty_like(weight)

    class Greedy(torch.optim.SGD):
        """An optimizer whose states fit no card."""

        def step(self, _closure: object = None) -> None:  # type: ignore[override] # it returns no loss
            """Ask for too much."""
            torch.empty(2**60, dtype=torch.uint8, device="cuda")

    with pytest.raises(torch.OutOfMemoryError) as caught, meter.step():
        Greedy([weight]).step()

    reading = meter.end(out_of_memory_in(caught.value))

    assert isinstance(reading, OutOfMemory)
    assert ("optimizer", ("first step",)) == (reading.phase, reading.phases_around)


def test_a_reset_by_the_code_loses_no_peak(meter: Meter) -> None:
    """Training scripts reset the peak statistics; the case's peak is what was really reached."""
    torch.empty(64 * MIB, dtype=torch.uint8, device="cuda")
    torch.cuda.reset_peak_memory_stats()

    assert 64 * MIB == measured(meter).peak_allocated_bytes


def test_emptying_the_cache_loses_no_peak(meter: Meter) -> None:
    """The reserved peak outlives an `empty_cache`."""
    torch.empty(64 * MIB, dtype=torch.uint8, device="cuda")
    torch.cuda.empty_cache()

    assert 64 * MIB == measured(meter).peak_reserved_bytes


def test_context_bytes_are_what_the_driver_counts_besides(meter: Meter) -> None:
    """Device peak is the reserved peak and the card's context, as NVML shows this process."""
    torch.empty(64 * MIB, dtype=torch.uint8, device="cuda")

    reading = measured(meter)

    assert reading.context_bytes > 0
    assert reading.peak_reserved_bytes + reading.context_bytes == reading.peak_device_bytes


def test_memory_from_before_is_not_counted() -> None:
    """What was alive before the case is told apart from its peaks."""
    earlier = torch.empty(32 * MIB, dtype=torch.uint8, device="cuda")
    with measuring() as meter:
        torch.empty(64 * MIB, dtype=torch.uint8, device="cuda")

        reading = measured(meter)

    assert not meter.leftover_was_freed
    assert 32 * MIB == reading.leftover_bytes
    assert 64 * MIB == reading.peak_allocated_bytes == reading.peak_reserved_bytes
    del earlier


def test_memory_from_before_that_is_freed_is_noticed() -> None:
    """Where earlier memory is given back during the case, its peaks cannot be told apart, and the meter says so."""
    earlier = torch.empty(32 * MIB, dtype=torch.uint8, device="cuda")
    with measuring() as meter:
        del earlier
        torch.empty(64 * MIB, dtype=torch.uint8, device="cuda")
        measured(meter)

    assert meter.leftover_was_freed


def test_a_full_card_is_a_reading(meter: Meter) -> None:
    """An out-of-memory keeps PyTorch's own words, the phase, and what had been reached."""

    def fill() -> None:
        held = torch.empty(64 * MIB, dtype=torch.uint8, device="cuda")
        torch.empty(2**60, dtype=torch.uint8, device=held.device)

    with pytest.raises(torch.OutOfMemoryError) as caught, meter.step():
        fill()

    reading = meter.end(out_of_memory_in(caught.value))

    assert isinstance(reading, OutOfMemory)
    assert str(caught.value) == reading.message
    assert "first step" == reading.phase
    assert 64 * MIB == reading.peak_allocated_bytes == reading.parts.activations_bytes


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("CUDA error: out of memory"), False),
        (None, False),
    ],
)
def test_which_errors_mean_a_full_card(error: BaseException | None, *, is_full: bool) -> None:
    """PyTorch's error and the libraries' own words for a full card count, nothing else."""
    assert is_full == (out_of_memory_in(error) is not None)


def test_an_error_raised_from_a_full_card_means_a_full_card() -> None:
    """A framework that wraps the out-of-memory in an error of its own does not hide it."""
    full = torch.OutOfMemoryError("CUDA out of memory.")
    wrapped = RuntimeError("training failed")
    wrapped.__cause__ = full

    assert out_of_memory_in(wrapped) is full


def test_the_last_error_lets_go_of_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors in the frames of the exception that Python keeps for debuggers are freed before the next case."""

    def fail() -> None:
        held = torch.empty(64 * MIB, dtype=torch.uint8, device="cuda")
        message = f"with {held.numel()} bytes in the frame"
        raise ValueError(message)

    before = torch.cuda.memory_allocated()
    with pytest.raises(ValueError, match="in the frame") as caught:
        fail()
    monkeypatch.setattr("sys.last_value", caught.value, raising=False)

    release_last_error()

    assert before == torch.cuda.memory_allocated()


def test_steps_after_the_warm_up_are_timed() -> None:
    """Where time means something, each step after the warm-up is a sample, with its tokens."""
    with measuring(timed=True, warmup_steps=2) as meter:
        train(meter, steps=5)

        reading = measured(meter)

    assert 5 == reading.step_count
    assert [64, 64, 64] == [step.tokens for step in reading.steps]
    assert all(step.host_seconds > 0 and step.device_seconds > 0 for step in reading.steps)


def test_no_step_time_is_said_where_there_is_none(meter: Meter) -> None:
    """An emulated card has no step time, and the reading says so."""
    train(meter, steps=2)

    reading = measured(meter)

    assert () == reading.steps
    assert "no step time: nothing is computed on an emulated card" in reading.notes


def test_two_runs_are_equal_to_the_byte() -> None:
    """The same code gives the same reading twice in one process."""
    readings = []
    for _ in range(2):
        with measuring() as meter:
            train(meter, steps=3)
            readings.append(measured(meter))

    assert readings[0] == readings[1]
