"""What a failed case leaves behind where `--vram-artifacts` names a folder."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tests.plugin.projects import HOLD, ON_RTX3060, Run, run_once

pytestmark = pytest.mark.stack

MODULE = (
    HOLD
    + """
@pytest.mark.vram(max_gb=1)
def test_fits():
    hold(2**20)


@pytest.mark.vram(max_gb=0.001)
@pytest.mark.parametrize("size_bytes", [2**20, 2**21])
def test_too_large(size_bytes):
    hold(size_bytes)


@pytest.mark.vram
def test_full():
    held = hold(2**20)
    hold(2**36)


@pytest.mark.vram
@pytest.mark.xfail
def test_refused():
    ask_too_much()


@pytest.mark.vram
def test_of_its_own():
    assert hold(1) is None
"""
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of tests that fail, and that end in other ways."""
    files = {"test_left.py": MODULE, "pytest.ini": "[pytest]\nvram_artifacts = new/left"}
    return run_once(tmp_path_factory.mktemp("artifacts"), files, *ON_RTX3060)


def snapshots(run: Run) -> dict[str, str]:
    """Return the path that the report names for each case that has one."""
    return {name: case["snapshot"] for name, case in run.cases.items() if case["snapshot"] is not None}


def test_failed_cases_alone_leave_a_snapshot(run: Run) -> None:
    """A gate that failed leaves one, named after the case; a pass, what was not judged and an error of its own do not."""
    left = sorted((run.folder / "new" / "left").iterdir())

    assert {"test_too_large[1048576]", "test_too_large[2097152]", "test_full"} == set(snapshots(run))
    assert sorted(snapshots(run).values()) == [str(path) for path in left]
    assert ["test_left.py-test_full", "test_left.py-test_too_large-1048576", "test_left.py-test_too_large-2097152"] == [
        path.name.rpartition("-")[0] for path in left
    ]


def test_a_failure_says_where_its_snapshot_is(run: Run) -> None:
    """The last line of the account is the path."""
    path = snapshots(run)["test_full"]

    assert f"snapshot for pytorch.org/memory_viz: {path}" == run.failure_of("test_full")[-1]


def test_a_snapshot_ends_with_what_went_wrong(run: Run) -> None:
    """The last event of a full card is the allocation that did not fit, with the line that asked for it."""
    (events,) = pickle.loads(Path(snapshots(run)["test_full"]).read_bytes())["device_traces"]  # noqa: S301 (our own)

    assert ["segment_alloc", "alloc", "oom"] == [event["action"] for event in events if "free" not in event["action"]]
    assert 'return torch.empty(size_bytes, dtype=torch.uint8, device="cuda")' in [
        MODULE.splitlines()[frame["line"] - 1].strip()
        for frame in events[0]["frames"]
        if frame["filename"].endswith("test_left.py")
    ]
