"""Tests of the phase gate: the limit to the byte, and what an out-of-memory means for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_vramguard.allowance import PhaseLimit
from pytest_vramguard.gates import PhaseGate
from pytest_vramguard.units import GIB, MIB
from pytest_vramguard.verdict import Outcome, Verdict
from tests import samples

if TYPE_CHECKING:
    from pytest_vramguard.reading import Reading

LOAD_BYTES = 4352 * MIB
"""Device peak of the phase `load` of the sample measurement."""


def judged(reading: Reading, phase: str = "load", max_bytes: int = LOAD_BYTES) -> Verdict:
    """Return the verdict on one phase."""
    return PhaseGate(limit=PhaseLimit(phase=phase, max_bytes=max_bytes)).judge(reading, samples.card())


@pytest.mark.parametrize(("off_bytes", "outcome"), [(-1, Outcome.FAIL), (0, Outcome.PASS), (1, Outcome.PASS)])
def test_the_limit_to_the_byte(off_bytes: int, outcome: Outcome) -> None:
    """A limit one byte below the peak of the phase fails, and the peak itself passes."""
    verdict = judged(samples.measurement(), max_bytes=LOAD_BYTES + off_bytes)

    assert (outcome, LOAD_BYTES) == (verdict.outcome, verdict.observed)


def test_a_phase_over_its_limit() -> None:
    """The verdict names phase, peak and both sizes, whatever the peak of the case is."""
    expected = Verdict(
        gate="phase",
        metric="peak device bytes of phase 'load'",
        outcome=Outcome.FAIL,
        observed=LOAD_BYTES,
        limit=4 * GIB,
        unit="bytes",
        reason="4.25 GiB is 256.0 MiB (268435456 bytes) over the 4.00 GiB of phase 'load'",
    )

    assert expected == judged(samples.measurement(), max_bytes=4 * GIB)


def test_a_phase_that_did_not_happen() -> None:
    """It is not judged, and the reason names the phases that did happen."""
    verdict = judged(samples.measurement(), phase="eval")
    reason = "the case had no phase 'eval', it had: load, first step, steady; correct the name, or drop the limit"

    assert (Outcome.UNJUDGED, None, reason) == (verdict.outcome, verdict.observed, verdict.reason)


def test_a_case_without_phases() -> None:
    """A test that marks no phase has none."""
    reason = "the case had no phase 'load', it had: none; correct the name, or drop the limit"

    assert reason == judged(samples.measurement(phases=())).reason


def test_out_of_memory_in_the_phase_fails() -> None:
    """A phase that ran out of memory fails whatever its limit, with PyTorch's words."""
    verdict = judged(samples.out_of_memory(), max_bytes=100 * GIB)

    assert Outcome.FAIL is verdict.outcome
    assert f"out of memory: {samples.PYTORCH_TEXT.splitlines()[0]}" == verdict.reason


def test_out_of_memory_inside_of_the_phase_fails() -> None:
    """The first step fails where its optimizer ran out of memory."""
    reading = samples.out_of_memory(phase="optimizer", phases_around=("first step",), phases=samples.PHASES)
    verdict = judged(reading, phase="first step", max_bytes=100 * GIB)

    assert Outcome.FAIL is verdict.outcome
    assert verdict.reason.startswith("out of memory, inside 'optimizer': CUDA out of memory.")


@pytest.mark.parametrize(("max_bytes", "outcome"), [(LOAD_BYTES, Outcome.PASS), (LOAD_BYTES - 1, Outcome.FAIL)])
def test_a_phase_before_the_out_of_memory_is_judged(max_bytes: int, outcome: Outcome) -> None:
    """What had ended before has a peak as always."""
    reading = samples.out_of_memory(phase="eval", phases=samples.PHASES)

    assert outcome is judged(reading, max_bytes=max_bytes).outcome


def test_a_phase_that_an_out_of_memory_forestalled() -> None:
    """What did not happen is not judged, and the reason says where the case ended."""
    verdict = judged(samples.out_of_memory(), phase="eval")
    reason = (
        "the case had no phase 'eval' before it was out of memory in phase 'load', it had: load;"
        " correct the name, or drop the limit"
    )

    assert (Outcome.UNJUDGED, reason) == (verdict.outcome, verdict.reason)


def test_without_a_measurement_nothing_is_judged() -> None:
    """The reason is that of the reading."""
    verdict = judged(samples.not_measured())

    assert (Outcome.UNJUDGED, samples.not_measured().reason) == (verdict.outcome, verdict.reason)
