"""The slowdown gate where there is no step time: no test is red for it, and none looks judged."""

from __future__ import annotations

import pytest

from tests.plugin.projects import HOLD, ON_RTX3060, Run, run_once

pytestmark = pytest.mark.stack

MODULE = (
    HOLD
    + """
@pytest.mark.vram(max_slowdown="10%")
def test_of_both_devices(vram):
    with vram.step(tokens=8):
        hold(2**20)


@pytest.mark.vram(max_slowdown="10%", max_gb=0.001)
@pytest.mark.xfail(strict=True)
def test_known_not_to_fit():
    hold(2**24)
"""
)


@pytest.fixture(scope="module", params=[(), ("-n", "2", "--reruns", "1")], ids=["alone", "other plugins"])
def run(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Run:
    """A run on an emulated card of tests that ask for step times, where baselines are required."""
    files = {"test_slow.py": MODULE, "pytest.ini": "[pytest]\nvram_require_baseline = true\n"}
    return run_once(tmp_path_factory.mktemp("slow"), files, "-rA", *request.param, *ON_RTX3060)


def test_an_emulated_card_fails_nothing(run: Run) -> None:
    """The tests pass or fail by their other gates, also where a baseline is required."""
    assert {"test_of_both_devices": "PASSED", "test_known_not_to_fit": "XFAIL"} == run.outcomes
    assert 0 == run.result.ret


def test_what_was_not_judged_is_said(run: Run) -> None:
    """The case is UNJUDGED in the report, and the summary says why and where it is judged."""
    assert {"test_of_both_devices": "UNJUDGED", "test_known_not_to_fit": "FAIL"} == run.verdicts
    assert (
        "test_of_both_devices: slowdown UNJUDGED: there is no step time on an emulated card; "
        "it is judged where the test runs on a GPU"
    ) in " ".join(run.text.split())


def test_the_report_says_what_was_asked(run: Run) -> None:
    """A comparison of commits reads the limits of each test from its report."""
    assert {"max_slowdown": "10%"} == run.cases["test_of_both_devices"]["limits"]
