"""What the fit gate decides, to the byte."""

from __future__ import annotations

import pytest

from pytest_vramguard.gates import FitGate
from pytest_vramguard.units import GIB
from pytest_vramguard.verdict import Outcome, Verdict
from tests import samples

CARD = samples.card(key="rtx3060", usable_bytes=12 * GIB)


@pytest.mark.parametrize(
    ("observed_bytes", "outcome"),
    [(12 * GIB - 1, Outcome.PASS), (12 * GIB, Outcome.PASS), (12 * GIB + 1, Outcome.FAIL)],
)
def test_card_is_the_limit(observed_bytes: int, outcome: Outcome) -> None:
    """Without `max_bytes` a case passes up to and including the last usable byte of the card."""
    verdict = FitGate().judge(samples.measured_device_bytes(observed_bytes), CARD)

    assert (outcome, observed_bytes, 12 * GIB) == (verdict.outcome, verdict.observed, verdict.limit)


@pytest.mark.parametrize(
    ("observed_bytes", "outcome"),
    [(8 * GIB - 1, Outcome.PASS), (8 * GIB, Outcome.PASS), (8 * GIB + 1, Outcome.FAIL)],
)
def test_max_gb_is_the_limit(observed_bytes: int, outcome: Outcome) -> None:
    """`max_bytes` below the card's usable bytes is the limit, and equal passes."""
    verdict = FitGate(max_bytes=8 * GIB).judge(samples.measured_device_bytes(observed_bytes), CARD)

    assert (outcome, observed_bytes, 8 * GIB) == (verdict.outcome, verdict.observed, verdict.limit)


@pytest.mark.parametrize(
    ("max_bytes", "limit_bytes"),
    [(12 * GIB - 1, 12 * GIB - 1), (12 * GIB, 12 * GIB), (12 * GIB + 1, 12 * GIB)],
)
def test_smaller_limit_binds(max_bytes: int, limit_bytes: int) -> None:
    """A `max_bytes` above the card's usable bytes does not widen the limit."""
    verdict = FitGate(max_bytes=max_bytes).judge(samples.measurement(), CARD)

    assert limit_bytes == verdict.limit


def test_pass_says_how_much_is_left_on_the_card() -> None:
    """A pass names the card, the distance in GiB, bytes and percent of the limit."""
    verdict = FitGate().judge(samples.measured_device_bytes(9 * GIB), CARD)

    assert (
        Verdict(
            gate="fit",
            metric="peak device bytes",
            outcome=Outcome.PASS,
            observed=9 * GIB,
            limit=12 * GIB,
            unit="bytes",
            reason="9.00 GiB is 3.00 GiB (3221225472 bytes, 25.0 %) under the 12.00 GiB usable on rtx3060",
        )
        == verdict
    )


def test_failure_says_how_much_too_much_for_the_card() -> None:
    """A failure by one byte still says so, although the sizes read the same in GiB."""
    verdict = FitGate().judge(samples.measured_device_bytes(12 * GIB + 1), CARD)

    assert "12.00 GiB is 0.00 GiB (1 bytes, 0.0 %) over the 12.00 GiB usable on rtx3060" == verdict.reason


def test_failure_names_max_gb_where_it_bound() -> None:
    """A failure says that the project's own limit bound and not the card."""
    verdict = FitGate(max_bytes=8 * GIB).judge(samples.measured_device_bytes(10 * GIB), CARD)

    assert "10.00 GiB is 2.00 GiB (2147483648 bytes, 25.0 %) over the 8.00 GiB of max_gb" == verdict.reason


def test_what_was_refused_is_named() -> None:
    """Where the allocation is known that found no memory, the failure says its size and its line."""
    reading = samples.out_of_memory(refused=samples.site_bytes("train.py:9 in loss_of", 4 * GIB, code="y = x.float()"))

    assert ("4.00 GiB were asked for at train.py:9 in loss_of: y = x.float()",) == FitGate().judge(reading, CARD).causes


def test_out_of_memory_fails() -> None:
    """Out of memory fails with the peak that was reached, the phase and the first line of PyTorch's text."""
    reading = samples.out_of_memory(phase="first step", message="CUDA out of memory. Tried to allocate 2 MiB.\nSee the docs")

    verdict = FitGate().judge(reading, CARD)

    assert (
        Verdict(
            gate="fit",
            metric="peak device bytes",
            outcome=Outcome.FAIL,
            observed=reading.peak_device_bytes,
            limit=12 * GIB,
            unit="bytes",
            reason="out of memory in phase 'first step': CUDA out of memory. Tried to allocate 2 MiB.",
        )
        == verdict
    )


def test_not_measured_is_unjudged() -> None:
    """A case without numbers is not judged, for the reason that the reading gives."""
    verdict = FitGate(max_bytes=8 * GIB).judge(samples.not_measured("no gcc found; next step: install gcc"), CARD)

    assert (
        Verdict(
            gate="fit",
            metric="peak device bytes",
            outcome=Outcome.UNJUDGED,
            observed=None,
            limit=8 * GIB,
            unit="bytes",
            reason="no gcc found; next step: install gcc",
        )
        == verdict
    )
