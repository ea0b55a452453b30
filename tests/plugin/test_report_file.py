"""`--vram-json` writes what programs read, and the table at the end is what people read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.plugin.projects import EMULATED, HOLD, Run, run_in, run_once

pytestmark = pytest.mark.stack

MODULE = (
    HOLD
    + """
@pytest.mark.vram(band=(0.0, 0.9))
def test_measured(vram):
    with vram.phase("load"):
        hold(2**20)


@pytest.mark.vram
def test_full():
    hold(2**36)


@pytest.mark.vram
def test_refused():
    ask_too_much()
"""
)
# Every key that schema 1 promises; a document may have more of them.
CASE_KEYS = {"id", "target", "outcome", "device", "reading", "verdicts"}
DEVICE_KEYS = {"kind", "name", "usable_bytes", "compute_capability", "driver", "versions"}
PEAK_KEYS = {"peak_allocated_bytes", "peak_reserved_bytes", "peak_device_bytes"}
MEMORY_KEYS = PEAK_KEYS | {"context_bytes", "parts", "phases"}
VERDICT_KEYS = {"gate", "metric", "outcome", "observed", "limit", "unit", "reason", "required", "causes"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run that writes into a folder that is not there before."""
    folder = tmp_path_factory.mktemp("report")
    return run_once(
        folder, {"test_report.py": MODULE}, *EMULATED, "--vram-target", "rtx3060", "--vram-json", "new/folder/report.json"
    )


@pytest.fixture(scope="module")
def document(run: Run) -> dict[str, Any]:
    """The document that was written."""
    found: dict[str, Any] = json.loads((run.folder / "new" / "folder" / "report.json").read_text(encoding="utf-8"))
    return found


def test_the_document_has_the_keys_of_schema_1(document: dict[str, Any]) -> None:
    """The root says which form and which writer, and holds a case for each test."""
    assert ["schema", "tool", "cases"] == list(document)
    assert 1 == document["schema"]
    assert document["tool"].startswith("pytest-vramguard ")
    assert ["test_report.py::test_measured", "test_report.py::test_full", "test_report.py::test_refused"] == [
        case["id"] for case in document["cases"]
    ]


def test_every_case_has_the_same_keys(document: dict[str, Any]) -> None:
    """Whatever came out, a case has all keys of a case, of a device, and of verdicts."""
    for case in document["cases"]:
        assert set(case) >= CASE_KEYS
        assert set(case["device"]) >= DEVICE_KEYS
        assert [VERDICT_KEYS] * len(case["verdicts"]) == [set(verdict) for verdict in case["verdicts"]]


def test_a_reading_has_the_keys_of_its_kind(document: dict[str, Any]) -> None:
    """A measurement, an out-of-memory and a case that was not measured differ in what they know."""
    measured, full, refused = (case["reading"] for case in document["cases"])

    assert ["measurement", "out_of_memory", "not_measured"] == [reading["kind"] for reading in (measured, full, refused)]
    assert set(measured) >= MEMORY_KEYS | {"step_seconds"}
    assert set(full) >= MEMORY_KEYS | {"message", "phase"}
    assert {"kind", "reason"} == set(refused)


def test_memory_is_told_by_part_and_phase(document: dict[str, Any]) -> None:
    """The parts are the five of the schema, and each phase has the three peaks."""
    reading = document["cases"][0]["reading"]

    assert ["weights", "gradients", "optimizer", "activations", "other"] == list(reading["parts"])
    assert {"load": PEAK_KEYS} == {name: set(phase) for name, phase in reading["phases"].items()}
    assert reading["peak_reserved_bytes"] + reading["context_bytes"] == reading["peak_device_bytes"]


def test_the_terminal_shows_the_table(run: Run) -> None:
    """The last section of the run has a row for each case."""
    run.result.stdout.fnmatch_lines(
        [
            "=* vramguard =*",
            "test * target * ran on * allocated * reserved * device * share * outcome",
            "test_report.py::test_measured * rtx3060 * emulated * PASS",
            "test_report.py::test_full * rtx3060 * emulated * FAIL (OOM)",
            "test_report.py::test_refused * rtx3060 * emulated * - * UNJUDGED",
        ]
    )


def test_a_report_that_cannot_be_written_is_a_usage_error(pytester: pytest.Pytester) -> None:
    """The run ends with the status of a usage error and says which path was wrong, though every test passed."""
    pytester.makepyfile("import pytest\n@pytest.mark.vram\ndef test_a(): pass")
    pytester.makefile(".txt", taken="a file where a folder is needed")

    run = run_in(pytester, "--vram-target", "rtx3060", "--vram-device", "emulated", "--vram-json", "taken.txt/report.json")

    assert pytest.ExitCode.USAGE_ERROR == run.result.ret
    assert "Traceback" not in run.text
    path = pytester.path / "taken.txt" / "report.json"
    run.result.stdout.fnmatch_lines(f"{path}: *, expected to write the report there; correct --vram-json")


@pytest.mark.parametrize(("switch", "cases"), [("--collect-only", None), ("-k=nothing", [])], ids=["collected", "run"])
def test_a_run_without_cases_replaces_an_older_report(pytester: pytest.Pytester, switch: str, cases: list[Any] | None) -> None:
    """Nobody takes yesterday's report for today's; a run that only collects leaves it alone."""
    pytester.makepyfile(test_report=MODULE)
    report = pytester.path / "report.json"
    report.write_text('{"cases": null}')

    run_in(pytester, *EMULATED, "--vram-target", "rtx3060", "--vram-json", "report.json", switch)

    assert json.loads(report.read_text(encoding="utf-8"))["cases"] == cases
