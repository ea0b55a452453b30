"""What the processes of a command are called in the report."""

from __future__ import annotations

from pytest_vramguard.run.launch import _labels


def test_processes_are_counted_and_not_numbered() -> None:
    """Process numbers, which differ from run to run, give the order; each rank counts its own."""
    stems = ["process-90", "process-1234", "rank-10-local-2-process-7", "rank-2-local-2-process-31", "rank-2-local-2-process-8"]

    assert {
        "process-90": "process-1",
        "process-1234": "process-2",
        "rank-2-local-2-process-8": "rank-2-local-2-process-1",
        "rank-2-local-2-process-31": "rank-2-local-2-process-2",
        "rank-10-local-2-process-7": "rank-10-local-2-process-1",
    } == _labels(stems)
