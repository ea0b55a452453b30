"""A subtest that fails lets the test's own code go on; the case is judged by it all the same."""

from __future__ import annotations

import pytest

from tests.plugin.projects import HOLD, ON_RTX3060, Run, run_once

pytestmark = pytest.mark.stack

MODULE = (
    HOLD
    + """
from unittest import TestCase

pytestmark = pytest.mark.vram


def test_fills_the_card(subtests):
    with subtests.test("full"):
        hold(2**36)
    with subtests.test("fits"):
        hold(2**20)


def test_raises(subtests):
    with subtests.test("raises"):
        raise ValueError("mine")


def test_skips_one(subtests):
    with subtests.test("skipped"):
        pytest.skip("not here")
    with subtests.test("fits"):
        hold(2**20)


def test_expects_one_to_fail(subtests):
    with subtests.test("expected"):
        pytest.xfail("not mended yet")
    with subtests.test("fits"):
        hold(2**20)


class TestOfUnittest(TestCase):
    def test_skips_one(self):
        with self.subTest("skipped"):
            self.skipTest("not here")
        with self.subTest("fits"):
            hold(2**20)

    def test_fills_the_card(self):
        with self.subTest("full"):
            hold(2**36)
        with self.subTest("raises"):
            raise ValueError("mine")
"""
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of tests with subtests."""
    return run_once(tmp_path_factory.mktemp("subtests"), {"test_subtests.py": MODULE}, "-rA", *ON_RTX3060)


def test_a_full_card_in_a_subtest_is_a_failed_gate(run: Run) -> None:
    """The first error of a subtest is that of the case, in both kinds of subtests."""
    for name in ("test_fills_the_card", "TestOfUnittest::test_fills_the_card"):
        assert ("out_of_memory", "FAIL") == (run.cases[name]["reading"]["kind"], run.verdicts[name])
        assert "FAILED" == run.outcomes[name]


def test_an_error_of_a_subtest_is_not_judged(run: Run) -> None:
    """Part of a test says nothing about memory."""
    assert {"kind": "not_measured", "reason": "the test ended with ValueError: mine"} == run.cases["test_raises"]["reading"]
    assert "FAILED" == run.outcomes["test_raises"]


@pytest.mark.parametrize("name", ["test_skips_one", "test_expects_one_to_fail", "TestOfUnittest::test_skips_one"])
def test_a_subtest_that_did_not_fail_is_no_error(run: Run, name: str) -> None:
    """After one that was skipped or expected to fail, the rest of the test is measured and judged."""
    assert "PASS" == run.verdicts[name]
    assert 2**20 == run.cases[name]["reading"]["peak_allocated_bytes"]
