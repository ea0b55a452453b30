"""Under pytest-rerunfailures the last result of a test counts."""

from __future__ import annotations

import pytest

from tests.plugin.projects import HOLD, ON_RTX3060, Run, run_once

pytest.importorskip("pytest_rerunfailures")
pytestmark = pytest.mark.stack

MODULE = (
    HOLD
    + """
sizes_bytes = [2**36, 2**32]


@pytest.mark.vram
def test_passes_the_second_time():
    held = hold(2**32)
    hold(sizes_bytes.pop(0))


@pytest.mark.vram(max_gb=0.5)
def test_never_passes():
    hold(2**30)
"""
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run in which each test may run again once."""
    files = {"test_reruns.py": MODULE}
    return run_once(tmp_path_factory.mktemp("reruns"), files, "--reruns", "1", "-rA", *ON_RTX3060)


def test_pytest_counts_the_reruns(run: Run) -> None:
    """Both tests run twice; one passes then, the other does not."""
    assert {"passed": 1, "failed": 1, "rerun": 2} == run.result.parseoutcomes()


def test_the_report_holds_the_last_result_alone(run: Run) -> None:
    """A case that was run again is in the report once, as it ended."""
    assert [("test_reruns.py::test_passes_the_second_time", "PASS"), ("test_reruns.py::test_never_passes", "FAIL")] == [
        (case["id"], case["outcome"]) for case in run.report["cases"]
    ]


def test_the_second_run_begins_clean(run: Run) -> None:
    """What the frames of the first attempt held is let go, though pytest-rerunfailures keeps its exception."""
    reading = run.cases["test_passes_the_second_time"]["reading"]

    assert (2**33, 0) == (reading["peak_allocated_bytes"], reading["leftover_bytes"])
