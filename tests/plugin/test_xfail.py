"""An expected failure may be a gate that failed, but never a gate that could not judge."""

from __future__ import annotations

import pytest

from tests.plugin.projects import HOLD, ON_RTX3060, Run, run_once

pytestmark = pytest.mark.stack

MODULE = (
    HOLD
    + """
from unittest import TestCase

pytestmark = pytest.mark.vram(max_gb=0.5)


@pytest.mark.xfail
def test_expected_to_be_too_large():
    hold(2**30)


@pytest.mark.xfail(strict=True)
def test_strictly_expected_to_be_too_large():
    hold(2**30)


@pytest.mark.xfail(strict=True)
def test_expected_to_fill_the_card():
    hold(2**36)


@pytest.mark.xfail(strict=True)
def test_strictly_expected_to_be_too_large_and_is_not():
    hold(2**20)


@pytest.mark.xfail
def test_expected_to_raise():
    raise ValueError("mine")


@pytest.mark.xfail(run=False)
def test_not_to_be_run():
    raise AssertionError


def test_refused():
    ask_too_much()


@pytest.mark.xfail
def test_refused_though_expected_to_fail():
    ask_too_much()


@pytest.mark.xfail(strict=True)
def test_refused_though_strictly_expected_to_fail():
    ask_too_much()


def test_refused_and_swallowed():
    try:
        ask_too_much()
    except RuntimeError:
        pass


@pytest.fixture
def refused():
    ask_too_much()


@pytest.mark.xfail
def test_refused_in_a_fixture_though_expected_to_fail(refused):
    pass


class TestOfUnittest(TestCase):
    @pytest.mark.xfail
    def test_refused_though_expected_to_fail(self):
        ask_too_much()
"""
)
REFUSED = (
    "test_refused",
    "test_refused_though_expected_to_fail",
    "test_refused_though_strictly_expected_to_fail",
    "test_refused_and_swallowed",
    "test_refused_in_a_fixture_though_expected_to_fail",
    "TestOfUnittest::test_refused_though_expected_to_fail",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of tests that are expected to fail, or ask for what is not emulated, or both."""
    return run_once(tmp_path_factory.mktemp("xfail"), {"test_xfail.py": MODULE}, "-rA", *ON_RTX3060)


@pytest.mark.parametrize(
    "name",
    ["test_expected_to_be_too_large", "test_strictly_expected_to_be_too_large", "test_expected_to_fill_the_card"],
)
def test_a_failed_gate_can_be_expected(run: Run, name: str) -> None:
    """The gate fails in the call phase, so that xfail takes it, and the report still says that it failed."""
    assert "XFAIL" == run.outcomes[name]
    assert "FAIL" == run.verdicts[name]


def test_a_gate_that_passes_against_a_strict_expectation_fails_the_test(run: Run) -> None:
    """A strict xfail over a passing gate is red, as it is over any passing test."""
    name = "test_strictly_expected_to_be_too_large_and_is_not"

    assert "FAILED" == run.outcomes[name]
    assert "PASS" == run.verdicts[name]


def test_an_error_of_the_test_itself_can_be_expected(run: Run) -> None:
    """An expected error is no matter of the gates, which say that they did not judge."""
    assert "XFAIL" == run.outcomes["test_expected_to_raise"]
    assert "UNJUDGED" == run.verdicts["test_expected_to_raise"]


def test_a_test_that_is_not_run_leaves_no_case(run: Run) -> None:
    """With run=False the test is not opened, and so is not in the report."""
    assert "XFAIL" == run.outcomes["test_not_to_be_run"]
    assert "test_not_to_be_run" not in run.cases


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_not_be_judged_is_red(run: Run, name: str) -> None:
    """A function that is not emulated makes the test red, whether it is expected to fail or swallows the refusal."""
    assert run.outcomes[name] in {"FAILED", "ERROR"}
    assert "UNJUDGED" == run.verdicts[name]


@pytest.mark.parametrize("name", REFUSED)
def test_the_reading_names_the_refused_function(run: Run, name: str) -> None:
    """The reason of the reading and of every verdict is the function that emulation does not cover."""
    case = run.cases[name]
    reason = "emulation does not cover cudaIpcGetMemHandle"

    assert {"kind": "not_measured", "reason": reason} == case["reading"]
    assert [reason] == [verdict["reason"] for verdict in case["verdicts"]]


@pytest.mark.parametrize("name", REFUSED[:5])
def test_the_failure_names_the_refused_function(run: Run, name: str) -> None:
    """What pytest prints says that nothing was judged and why."""
    expected = [
        f"UNJUDGED: test_xfail.py::{name} on rtx3060 (emulated)",
        "not judged: fit",
        "not measured: emulation does not cover cudaIpcGetMemHandle",
    ]

    assert expected == run.failure_of(name)
