"""A test that ends for reasons of its own: with an error, with a skip, by an interrupt."""

from __future__ import annotations

import pytest

from tests.plugin.projects import HOLD, ON_RTX3060, Run, run_in, run_once

MODULE = (
    HOLD
    + """
from unittest import SkipTest, TestCase

pytestmark = pytest.mark.vram


def test_raises():
    raise ValueError("mine")


def test_skips():
    pytest.skip("not here")


def test_skips_in_the_way_of_unittest():
    raise SkipTest("not here")


@pytest.fixture
def skipping():
    pytest.skip("not here")


def test_is_skipped_by_a_fixture(skipping):
    pass


class TestOfUnittest(TestCase):
    def test_raises(self):
        raise ValueError("mine")

    def test_skips(self):
        self.skipTest("not here")

    def test_fills_the_card(self):
        hold(2**36)

    def test_passes(self):
        hold(2**20)


def test_fills_the_card():
    held = hold(2**33)
    hold(2**36)


def test_passes_after_a_full_card():
    hold(2**33)
"""
)
SKIPPED_BY_MARKS = """
import sys
import pytest


@pytest.mark.vram
@pytest.mark.skip
def test_skipped():
    pass


@pytest.mark.skipif(True, reason="not here")
def test_skipped_if(vram):
    pass


def test_nothing_has_imported_torch():
    assert "torch" not in sys.modules
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of tests that end for reasons of their own."""
    return run_once(tmp_path_factory.mktemp("errors"), {"test_errors.py": MODULE}, "-rA", *ON_RTX3060)


@pytest.mark.stack
@pytest.mark.parametrize(
    ("name", "title"), [("test_raises", "test_raises"), ("TestOfUnittest::test_raises", "TestOfUnittest.test_raises")]
)
def test_an_error_of_the_test_keeps_its_traceback(run: Run, name: str, title: str) -> None:
    """Pytest shows the line that raised, and the failure is not one of a gate."""
    lines = run.failure_of(title)

    assert "FAILED" == run.outcomes[name]
    assert '>       raise ValueError("mine")' in [line.replace("    >", ">") for line in lines]
    assert "E       ValueError: mine" in lines


@pytest.mark.stack
@pytest.mark.parametrize("name", ["test_raises", "TestOfUnittest::test_raises"])
def test_an_error_of_the_test_is_not_judged(run: Run, name: str) -> None:
    """Half a test says nothing about memory, so the report says what ended it."""
    assert "UNJUDGED" == run.verdicts[name]
    assert {"kind": "not_measured", "reason": "the test ended with ValueError: mine"} == run.cases[name]["reading"]


@pytest.mark.stack
def test_what_was_skipped_leaves_no_case(run: Run) -> None:
    """A skip in the test or in one of its fixtures, by pytest or by unittest, is not in the report."""
    assert {
        "test_raises",
        "TestOfUnittest::test_raises",
        "TestOfUnittest::test_fills_the_card",
        "TestOfUnittest::test_passes",
        "test_fills_the_card",
        "test_passes_after_a_full_card",
    } == set(run.cases)
    assert 4 == run.result.parseoutcomes()["skipped"]


@pytest.mark.stack
def test_a_full_card_in_a_test_of_unittest_is_a_failed_gate(run: Run) -> None:
    """Pytest keeps errors of unittest from plugins that wrap the call; the reading is an out-of-memory all the same."""
    case = run.cases["TestOfUnittest::test_fills_the_card"]

    assert "FAILED" == run.outcomes["TestOfUnittest::test_fills_the_card"]
    assert ("out_of_memory", "FAIL") == (case["reading"]["kind"], case["outcome"])


@pytest.mark.stack
def test_a_test_that_filled_the_card_leaves_nothing_to_the_next(run: Run) -> None:
    """The frames of a failed test hold its tensors, and are let go before the next case begins."""
    reading = run.cases["test_passes_after_a_full_card"]["reading"]

    assert 2**33 == run.cases["test_fills_the_card"]["reading"]["peak_allocated_bytes"]
    assert (2**33, 0) == (reading["peak_allocated_bytes"], reading["leftover_bytes"])


def test_a_skip_mark_comes_before_the_card(pytester: pytest.Pytester) -> None:
    """What is skipped by a mark needs no target and imports no torch."""
    pytester.makepyfile(SKIPPED_BY_MARKS)

    result = pytester.runpytest_subprocess()

    result.assert_outcomes(passed=1, skipped=2)


@pytest.mark.stack
@pytest.mark.parametrize(
    ("ending", "status"),
    [("raise KeyboardInterrupt", pytest.ExitCode.INTERRUPTED), ("pytest.exit('enough', returncode=7)", 7)],
)
def test_an_interrupted_test_leaves_no_case(pytester: pytest.Pytester, ending: str, status: int) -> None:
    """The run ends with the status that pytest gives it, and the report holds the cases before."""
    pytester.makepyfile(f"{HOLD}\npytestmark = pytest.mark.vram\ndef test_before(): pass\ndef test_end(): {ending}\n")

    run = run_in(pytester, *ON_RTX3060)

    assert status == run.result.ret
    assert {"test_before": "PASS"} == run.verdicts
