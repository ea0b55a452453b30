"""What a case derives from its verdicts and its reading."""

from __future__ import annotations

import pytest

from pytest_vramguard.units import GIB
from pytest_vramguard.verdict import Outcome
from tests import samples


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], Outcome.UNJUDGED),
        (["PASS"], Outcome.PASS),
        (["PASS", "PASS"], Outcome.PASS),
        (["PASS", "UNJUDGED"], Outcome.UNJUDGED),
        (["UNJUDGED", "FAIL"], Outcome.FAIL),
        (["FAIL", "PASS"], Outcome.FAIL),
    ],
)
def test_outcome_is_the_worst_verdict(outcomes: list[str], expected: Outcome) -> None:
    """One failure fails the case, one gate that could not judge leaves it unjudged, and without a gate nothing passes."""
    case = samples.case(verdicts=tuple(samples.verdict(outcome=Outcome(outcome)) for outcome in outcomes))

    assert expected is case.outcome


def test_share_is_of_the_target() -> None:
    """The share is that of the target's usable bytes, even on a card that is larger."""
    case = samples.case(
        target_usable_bytes=8 * GIB,
        device=samples.device(kind="cuda", usable_bytes=80 * GIB),
        reading=samples.measured_device_bytes(6 * GIB),
    )

    assert 0.75 == case.peak_device_share


def test_share_of_an_out_of_memory() -> None:
    """A case that ran out of memory has the share of the peak that it reached."""
    reading = samples.out_of_memory(peak_reserved_bytes=5 * GIB, context_bytes=GIB)

    assert 0.75 == samples.case(target_usable_bytes=8 * GIB, reading=reading).peak_device_share


def test_no_share_without_numbers() -> None:
    """A case that was not measured has no share."""
    assert samples.case(reading=samples.not_measured()).peak_device_share is None
