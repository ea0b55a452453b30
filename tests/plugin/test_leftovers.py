"""Memory that a test leaves behind is measured, named, and counted in no other test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_vramguard.units import MIB
from tests.plugin.projects import HOLD, ON_RTX3060, Run, run_once

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.stack

MODULE = (
    HOLD
    + """
pytestmark = pytest.mark.vram
LEFT = []


def test_clean():
    hold(2**24)


def test_leaves():
    LEFT.append(hold(2**24))


def test_next():
    hold(2**20)


def test_one_later():
    hold(2**20)


@pytest.mark.xfail
def test_fills_the_card():
    hold(2**36)
"""
)
LATE_FAULT = """
class Faulty:
    def __init__(self):
        self.itself = self

    def __del__(self):
        raise ValueError("too late")


def test_leaves_a_fault(vram):
    Faulty()
"""
LEFT = "16.0 MiB were still held from before this test (since test_leftovers.py::test_leaves)"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of tests of which one leaves a tensor in a global."""
    return run_once(tmp_path_factory.mktemp("leftovers"), {"test_leftovers.py": MODULE}, "-rA", *ON_RTX3060)


def test_nothing_is_left_by_a_clean_test(run: Run) -> None:
    """The test that leaves something behind began without leftovers, and is measured as if alone."""
    reading = run.cases["test_leaves"]["reading"]

    assert (16 * MIB, 0) == (reading["peak_allocated_bytes"], reading["leftover_bytes"])
    assert [] == [note for note in reading["notes"] if "held" in note]


@pytest.mark.parametrize("name", ["test_next", "test_one_later"])
def test_what_is_left_is_not_counted(run: Run, name: str) -> None:
    """Later tests have the peak that they would have alone, and the size of what was left beside it."""
    reading = run.cases[name]["reading"]

    assert (MIB, 16 * MIB) == (reading["peak_allocated_bytes"], reading["leftover_bytes"])


@pytest.mark.parametrize("name", ["test_next", "test_one_later"])
def test_the_test_that_left_it_is_named(run: Run, name: str) -> None:
    """The report names the last case before the memory appeared, also when others have run since."""
    culprit = "test_leftovers.py::test_leaves"

    assert culprit == run.cases[name]["reading"]["leftover_from"]
    assert f"{name}: 16.0 MiB left behind by {culprit} are not counted" in run.text


def test_a_full_card_is_not_judged_over_the_memory_of_others(run: Run) -> None:
    """What did not fit beside leftovers might fit alone: nothing is judged, and no xfail hides that."""
    assert "FAILED" == run.outcomes["test_fills_the_card"]
    assert {
        "kind": "not_measured",
        "reason": f"out of memory while {LEFT}; free it there, or run this test alone",
    } == run.cases["test_fills_the_card"]["reading"]


def test_errors_of_finalizers_are_reported(tmp_path: Path) -> None:
    """The last search for garbage, which is ours, hides no error from pytest."""
    run = run_once(tmp_path, {"test_late.py": LATE_FAULT}, *ON_RTX3060)

    assert "ValueError: too late" in run.text
    run.result.assert_outcomes(passed=1, warnings=1)
