"""A gate that does not pass fails the test in its call phase, and says why."""

from __future__ import annotations

import pytest

from pytest_vramguard.units import GIB, exact_text
from tests.plugin.projects import HOLD, ON_RTX3060, Run, run_once

pytestmark = pytest.mark.stack

MODULE = (
    HOLD
    + """
@pytest.mark.vram(max_gb=1)
def test_under_max_gb():
    hold(2**28)


@pytest.mark.vram(max_gb=0.5)
def test_over_max_gb():
    hold(2**29)


@pytest.mark.vram(band=(0.7, 0.9))
def test_below_the_band():
    hold(2**20)


@pytest.mark.vram(band=(0.1, 0.5))
def test_inside_the_band():
    hold(2**31)


@pytest.mark.vram(band=(0.0, 0.005))
def test_above_the_band():
    hold(2**20)


@pytest.mark.vram
def test_out_of_memory():
    held = hold(2**30)
    hold(2**36)


@pytest.fixture
def full_card():
    hold(2**36)


@pytest.mark.vram
def test_out_of_memory_in_a_fixture(full_card):
    pass
"""
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of tests that keep to their limits or do not."""
    return run_once(tmp_path_factory.mktemp("gates"), {"test_gates.py": MODULE}, "-rA", *ON_RTX3060)


def test_pytest_reports_what_the_gates_say(run: Run) -> None:
    """A test passes if its gates do and fails if one of them fails, and the run ends with the status of failed tests."""
    expected = {
        "test_under_max_gb": "PASSED",
        "test_over_max_gb": "FAILED",
        "test_below_the_band": "FAILED",
        "test_inside_the_band": "PASSED",
        "test_above_the_band": "FAILED",
        "test_out_of_memory": "FAILED",
        "test_out_of_memory_in_a_fixture": "ERROR",
    }

    assert expected == run.outcomes
    assert pytest.ExitCode.TESTS_FAILED == run.result.ret


def test_the_report_says_the_same(run: Run) -> None:
    """The outcome of each case in the report is that of its test."""
    expected = {
        "test_under_max_gb": "PASS",
        "test_over_max_gb": "FAIL",
        "test_below_the_band": "FAIL",
        "test_inside_the_band": "PASS",
        "test_above_the_band": "FAIL",
        "test_out_of_memory": "FAIL",
        "test_out_of_memory_in_a_fixture": "FAIL",
    }

    assert expected == run.verdicts


def test_a_failure_names_the_peak_the_observed_value_and_the_limit(run: Run) -> None:
    """The text of a failed gate begins with the case, says which peak was compared, and gives both sizes exactly."""
    observed_bytes = run.cases["test_over_max_gb"]["verdicts"][0]["observed"]
    expected = [
        "FAIL: test_gates.py::test_over_max_gb on rtx3060 (emulated)",
        f"fit FAIL: peak device bytes: observed {exact_text(observed_bytes)}, limit {exact_text(GIB // 2)}",
    ]

    assert expected == run.failure_of("test_over_max_gb")[:2]
    assert GIB // 2 < observed_bytes


@pytest.mark.parametrize("name", ["test_over_max_gb", "test_below_the_band", "test_above_the_band", "test_out_of_memory"])
def test_a_failure_is_told_in_at_most_15_lines(run: Run, name: str) -> None:
    """What pytest prints about a failed gate is its text alone, without a traceback."""
    lines = run.failure_of(name)

    assert f"FAIL: test_gates.py::{name} on rtx3060 (emulated)" == lines[0]
    assert len(lines) <= 15


@pytest.mark.parametrize(("name", "side"), [("test_below_the_band", "below"), ("test_above_the_band", "above")])
def test_a_share_outside_the_band_says_on_which_side(run: Run, name: str, side: str) -> None:
    """The verdict of the band gate says whether the share lies below or above, and that of the fit gate passes."""
    fit, band = run.cases[name]["verdicts"]

    assert ("fit", "PASS") == (fit["gate"], fit["outcome"])
    assert ("band", "FAIL") == (band["gate"], band["outcome"])
    assert f" {side} the band of " in band["reason"]


@pytest.mark.parametrize("name", ["test_out_of_memory", "test_out_of_memory_in_a_fixture"])
def test_a_full_card_is_a_failed_gate_with_the_message_of_pytorch(run: Run, name: str) -> None:
    """An out-of-memory becomes a reading that holds PyTorch's own words, wherever in the test it happened."""
    case = run.cases[name]

    assert "out_of_memory" == case["reading"]["kind"]
    assert case["reading"]["message"].startswith(
        "CUDA out of memory. Tried to allocate 64.00 GiB. GPU 0 has a total capacity of "
    )
    assert ["FAIL"] == [verdict["outcome"] for verdict in case["verdicts"]]


def test_the_peak_before_a_full_card_is_kept(run: Run) -> None:
    """The reading of an out-of-memory says how far the test came."""
    assert run.cases["test_out_of_memory"]["reading"]["peak_allocated_bytes"] == GIB
