"""What the band gate decides, to the byte, and what is advised where no band is set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vramguard.gates import BandGate, advise
from pytest_vramguard.units import GIB
from pytest_vramguard.verdict import Outcome, Verdict
from tests import samples

CARD = samples.card(key="rtx3060", usable_bytes=1_000_000)
GATE = BandGate(low=0.7, high=0.9)


@pytest.mark.parametrize(
    ("observed_bytes", "outcome"),
    [
        (699_999, Outcome.FAIL),
        (700_000, Outcome.PASS),
        (700_001, Outcome.PASS),
        (899_999, Outcome.PASS),
        (900_000, Outcome.PASS),
        (900_001, Outcome.FAIL),
    ],
)
def test_both_ends_pass(observed_bytes: int, outcome: Outcome) -> None:
    """The band includes both of its ends and not one byte more."""
    verdict = GATE.judge(samples.measured_device_bytes(observed_bytes), CARD)

    assert outcome is verdict.outcome


@pytest.mark.parametrize(
    ("observed_bytes", "outcome"),
    [(7, Outcome.FAIL), (8, Outcome.PASS), (9, Outcome.PASS), (10, Outcome.FAIL)],
)
def test_ends_between_two_bytes(observed_bytes: int, outcome: Outcome) -> None:
    """Where 7/10 and 9/10 of the card are no whole bytes (7.7 and 9.9 of 11), the whole bytes inside them pass."""
    verdict = GATE.judge(samples.measured_device_bytes(observed_bytes), samples.card(usable_bytes=11))

    assert outcome is verdict.outcome


@given(percent=st.integers(1, 100), hundredth_bytes=st.integers(1, 2 * GIB))
def test_ends_are_the_decimals_that_were_written(percent: int, hundredth_bytes: int) -> None:
    """An end of n/100 is exactly n hundredths of the card, although most such numbers have no exact float."""
    gate = BandGate(low=percent / 100, high=percent / 100)
    card = samples.card(usable_bytes=100 * hundredth_bytes)
    end_bytes = percent * hundredth_bytes

    outcomes = [gate.judge(samples.measured_device_bytes(end_bytes + off), card).outcome for off in (-1, 0, 1)]

    assert [Outcome.FAIL, Outcome.PASS, Outcome.FAIL] == outcomes


def test_inside() -> None:
    """A pass says the share of the card and the band."""
    verdict = GATE.judge(samples.measured_device_bytes(8 * GIB), samples.card(key="rtx3080", usable_bytes=10 * GIB))

    assert (
        Verdict(
            gate="band",
            metric="peak device bytes / usable bytes",
            outcome=Outcome.PASS,
            observed=0.8,
            limit=(0.7, 0.9),
            unit="share",
            reason="80.0 % of the 10.00 GiB usable on rtx3080 is inside the band of 70.0 % to 90.0 %",
        )
        == verdict
    )


def test_below() -> None:
    """Below the band the card is larger than the recipe needs, and the distance is given."""
    verdict = GATE.judge(samples.measured_device_bytes(4 * GIB), samples.card(key="a100-80", usable_bytes=80 * GIB))

    assert (
        "5.0 % of the 80.00 GiB usable on a100-80 is 52.00 GiB (55834574848 bytes) below the band of 70.0 % to 90.0 %: "
        "the card is larger than the recipe needs"
    ) == verdict.reason


def test_above() -> None:
    """Above the band there is no head-room, and the distance is given."""
    verdict = GATE.judge(samples.measured_device_bytes(76 * GIB), samples.card(key="a100-80", usable_bytes=80 * GIB))

    assert (
        "95.0 % of the 80.00 GiB usable on a100-80 is 4.00 GiB (4294967296 bytes) above the band of 70.0 % to 90.0 %: "
        "no head-room"
    ) == verdict.reason


def test_out_of_memory_is_above_the_band() -> None:
    """Out of memory fails even if the peak that was reached lies inside the band."""
    reading = samples.out_of_memory(phase="load", peak_reserved_bytes=750_000, context_bytes=50_000)

    verdict = GATE.judge(reading, CARD)

    assert (
        Verdict(
            gate="band",
            metric="peak device bytes / usable bytes",
            outcome=Outcome.FAIL,
            observed=0.8,
            limit=(0.7, 0.9),
            unit="share",
            reason="out of memory in phase 'load', above the band of 70.0 % to 90.0 %: no head-room",
        )
        == verdict
    )


def test_not_measured_is_unjudged() -> None:
    """A case without numbers is not judged, for the reason that the reading gives."""
    verdict = GATE.judge(samples.not_measured("no gcc found; next step: install gcc"), CARD)

    assert (
        Verdict(
            gate="band",
            metric="peak device bytes / usable bytes",
            outcome=Outcome.UNJUDGED,
            observed=None,
            limit=(0.7, 0.9),
            unit="share",
            reason="no gcc found; next step: install gcc",
        )
        == verdict
    )


@pytest.mark.parametrize(
    ("share", "advice"),
    [
        (0.499, "49.9 % of the card: over-provisioned, a smaller card would do"),
        (0.5, "50.0 % of the card: room to spare, a longer sequence or a larger batch may fit"),
        (0.699, "69.9 % of the card: room to spare, a longer sequence or a larger batch may fit"),
        (0.7, "70.0 % of the card: good"),
        (0.9, "90.0 % of the card: good"),
        (0.901, "90.1 % of the card: little head-room, a longer sequence may not fit"),
        (0.95, "95.0 % of the card: little head-room, a longer sequence may not fit"),
        (0.951, "95.1 % of the card: tight, a longer sequence or another driver may end in out of memory"),
    ],
)
def test_advice(share: float, advice: str) -> None:
    """Under 50 % is over-provisioned, 70 to 90 % is good, over 95 % is tight, and the gaps have words of their own."""
    assert advice == advise(share)
