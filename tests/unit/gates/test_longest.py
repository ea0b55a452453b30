"""Tests of the gate on the largest value that fits."""

from __future__ import annotations

import pytest

from pytest_vramguard.gates import LongestGate
from pytest_vramguard.reading import Longest, Reading
from pytest_vramguard.verdict import Outcome, Verdict
from tests import samples


def judged(reading: Reading, minimum: int = 1400, quantity: str = "seq_len") -> Verdict:
    """Return the verdict on the longest sequence, or on another quantity."""
    return LongestGate(quantity=quantity, minimum=minimum).judge(reading, samples.card())


@pytest.mark.parametrize(
    ("value", "outcome", "reason"),
    [
        (1399, Outcome.FAIL, "1399 tokens fit, 1 fewer than the 1400 of min_seq_len"),
        (1400, Outcome.PASS, "1400 tokens fit, 0 more than the 1400 of min_seq_len"),
        (1401, Outcome.PASS, "1401 tokens fit, 1 more than the 1400 of min_seq_len"),
        (0, Outcome.FAIL, "0 tokens fit, 1400 fewer than the 1400 of min_seq_len"),
    ],
)
def test_the_limit_to_the_token(value: int, outcome: Outcome, reason: str) -> None:
    """One token less than promised fails, and what was promised passes."""
    expected = Verdict(
        gate="longest",
        metric="largest seq_len that fits",
        outcome=outcome,
        observed=value,
        limit=1400,
        unit="tokens",
        reason=reason,
    )

    assert expected == judged(samples.measurement(longest=Longest(quantity="seq_len", value=value)))


def test_batches_are_counted_in_samples() -> None:
    """The unit is that of the quantity."""
    verdict = judged(samples.measurement(longest=Longest(quantity="batch_size", value=3)), 4, "batch_size")

    assert ("samples", "3 samples fit, 1 fewer than the 4 of min_batch_size") == (verdict.unit, verdict.reason)


@pytest.mark.parametrize(("longest", "looked_for"), [(None, "none"), (Longest(quantity="batch_size", value=3), "batch_size")])
def test_a_case_that_did_not_look_for_it(longest: Longest | None, looked_for: str) -> None:
    """A minimum of what nobody looked for is not judged, and the reason says what to call."""
    verdict = judged(samples.measurement(longest=longest))
    reason = f"the test looked for {looked_for}, expected seq_len; call vram.longest(recipe, 'seq_len')"

    assert (Outcome.UNJUDGED, reason) == (verdict.outcome, verdict.reason)


@pytest.mark.parametrize(
    ("reading", "outcome", "reason"),
    [
        (samples.out_of_memory(), Outcome.FAIL, "out of memory in phase 'load'"),
        (samples.not_measured(), Outcome.UNJUDGED, samples.not_measured().reason),
    ],
)
def test_other_readings(reading: Reading, outcome: Outcome, reason: str) -> None:
    """Where not even the smallest value fits the gate fails, and what was not measured is not judged."""
    verdict = judged(reading)

    assert (outcome, reason) == (verdict.outcome, verdict.reason)
