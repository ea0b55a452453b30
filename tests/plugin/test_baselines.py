"""Baselines under pytest: accepted on request alone, compared with from then on, and never green without one where required."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pytest_vramguard.units import MIB
from tests.plugin.projects import HOLD, ON_RTX3060, Run, run_once

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.stack

MODULE = (
    HOLD
    + """
import pathlib

MORE_BYTES = int(pathlib.Path("more.txt").read_text())
LEFT = []


@pytest.mark.vram(max_growth="1%+2MiB", max_shrink="0")
@pytest.mark.parametrize("size_bytes", [2**28, 2**20])
def test_grows(size_bytes):
    hold(size_bytes + MORE_BYTES)


@pytest.mark.vram(max_growth="device=0")
def test_stays():
    hold(2**24)


@pytest.mark.vram(max_growth="0")
@pytest.mark.xfail(MORE_BYTES > 0, reason="known to grow")
def test_known_to_grow():
    hold(2**22 + MORE_BYTES)


@pytest.mark.vram(max_growth="0", max_gb=0.5)
@pytest.mark.xfail
def test_never_fits():
    hold(2**30)
"""
)
NAMES = ("test_grows[268435456]", "test_grows[1048576]", "test_stays", "test_known_to_grow")


def run_with(folder: Path, more_bytes: int, *arguments: str, files: Mapping[str, str] | None = None) -> Run:
    """Run the module with cases that are larger by `more_bytes`."""
    written = {"test_growth.py": MODULE, "more.txt": str(more_bytes), "pyproject.toml": "", **(files or {})}
    return run_once(folder, written, "-rA", *arguments, *ON_RTX3060)


def stored(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the documents of all baselines by the name of their test."""
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("vram-baselines/rtx3060/emulated/*.json")]
    return {document["case"].partition("::")[2]: document for document in documents}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run before anything was accepted."""
    return run_with(tmp_path_factory.mktemp("first"), 0)


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that accepts baselines."""
    return run_with(tmp_path_factory.mktemp("accepted"), 0, "--vram-accept")


@pytest.fixture
def project(accepted: Run, tmp_path: Path) -> Path:
    """Return a project with those baselines."""
    return shutil.copytree(accepted.folder, tmp_path / "project")


def test_without_a_baseline_nothing_is_judged_and_it_is_listed(first: Run) -> None:
    """The tests pass, are UNJUDGED in the report, and the summary names the next step for each."""
    assert dict.fromkeys(NAMES, "PASSED") | {"test_never_fits": "XFAIL"} == first.outcomes
    assert dict.fromkeys(NAMES, "UNJUDGED") | {"test_never_fits": "FAIL"} == first.verdicts
    assert " ".join(first.text.split()).count("growth UNJUDGED: no baseline in ") == 5
    assert "next step: accept one with pytest --vram-accept" in " ".join(first.text.split())


def test_an_ordinary_run_writes_no_baseline(first: Run) -> None:
    """Nothing is accepted unless somebody says so."""
    assert not (first.folder / "vram-baselines").exists()


def test_accepting_writes_what_passed(accepted: Run) -> None:
    """Each test that passed has a baseline with peaks and environment; the one that is known to fail has none."""
    baselines = stored(accepted.folder)

    assert 0 == accepted.result.ret
    assert set(NAMES) == set(baselines)
    assert 2**28 == baselines["test_grows[268435456]"]["measurement"]["peak_allocated_bytes"]
    assert ("emulated", "NVIDIA GeForce RTX 3060") == tuple(
        baselines["test_stays"]["environment"][key] for key in ("device", "gpu")
    )
    assert {"torch", "transformers", "peft", "bitsandbytes", "driver", "cuda"} <= set(baselines["test_stays"]["environment"])


def test_accepting_is_told(accepted: Run) -> None:
    """The header says that growth is not judged, and the summary what became of each case."""
    assert "accepting baselines into " in accepted.text
    assert accepted.text.count("\nbaseline new: ") == 4
    assert "baseline refused: test_growth.py::test_never_fits on rtx3060: the test did not pass" in accepted.text


def test_what_did_not_change_passes(project: Path) -> None:
    """Against its own baseline every case is equal to the byte."""
    run = run_with(project, 0)

    assert dict.fromkeys(NAMES, "PASS") | {"test_never_fits": "FAIL"} == run.verdicts
    assert 0 == run.result.ret


def test_growth_is_caught(project: Path) -> None:
    """Growth beyond both of share and size fails, within one of them it passes, and xfail means what it always means."""
    run = run_with(project, 9 * MIB // 4)  # under 1 % of 256 MiB, over 2 MiB

    assert {
        "test_grows[268435456]": "PASSED",
        "test_grows[1048576]": "FAILED",
        "test_stays": "PASSED",
        "test_known_to_grow": "XFAIL",
        "test_never_fits": "XFAIL",
    } == run.outcomes
    assert [
        "FAIL: test_growth.py::test_grows[1048576] on rtx3060 (emulated)",
        "growth FAIL: peak allocated bytes: observed 3407872 bytes (0.00 GiB), limit 3145728 bytes (0.00 GiB)",
        "  0.00 GiB is 2.2 MiB (2359296 bytes, 225.0 %) over the 0.00 GiB of the baseline; 1%+2MiB allows 2.0 MiB "
        "(2097152 bytes)",
        "  parts: activations +2.2 MiB (+225.0 %); finer: fragmentation +15.8 MiB (from 1.0 MiB)",
        '  at test_growth.py:8 in hold: return torch.empty(size_bytes, dtype=torch.uint8, device="cu...: +2.2 MiB',
        "  allocated peak by phase: unchanged",
        "  environment: unchanged",
    ] == run.failure_of(r"test_grows\[1048576\]")[:7]


def test_shrinking_is_caught(project: Path) -> None:
    """An improvement beyond its limit fails: the baseline is stale."""
    run = run_with(project, -512)

    assert ["shrink"] == [
        verdict["gate"] for verdict in run.cases["test_grows[1048576]"]["verdicts"] if verdict["outcome"] == "FAIL"
    ]
    assert "PASSED" == run.outcomes["test_stays"]


def test_growth_is_accepted_from_the_report(project: Path) -> None:
    """What grew on purpose becomes the baseline by the command, and passes from then on."""
    run = run_with(project, 9 * MIB // 4)

    ended = subprocess.run(
        [sys.executable, "-m", "pytest_vramguard.cli", "baseline", "accept", "report.json"],
        cwd=run.folder,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (1, "") == (ended.returncode, ended.stderr)  # the one that never fits is refused
    assert "baseline replaced: test_growth.py::test_grows[1048576] on rtx3060 (emulated)" in ended.stdout
    assert "PASSED" == run_with(project, 9 * MIB // 4).outcomes["test_grows[1048576]"]


def test_a_required_baseline_that_is_missing_is_red(tmp_path: Path) -> None:
    """With `require_baseline` what could not be compared fails, also under xfail."""
    run = run_with(tmp_path, 1, files={"pytest.ini": "[pytest]\nvram_require_baseline = true\n"})

    assert dict.fromkeys(NAMES, "FAILED") == {name: run.outcomes[name] for name in NAMES}
    assert dict.fromkeys(NAMES, "UNJUDGED") == {name: run.verdicts[name] for name in NAMES}


@pytest.mark.long
@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("}", "", "malformed: "),
        ('"schema": 1', '"schema": 2', "schema: got 2, expected at most 1; next step: upgrade pytest-vramguard"),
        ("NVIDIA GeForce RTX 3060", "NVIDIA A10G", "gpu was 'NVIDIA A10G' and is 'NVIDIA GeForce RTX 3060'; "),
        ('"device": "emulated"', '"device": "cuda"', "(cuda), expected that in "),
    ],
)
def test_a_baseline_that_says_nothing_is_red(project: Path, old: str, new: str, reason: str) -> None:
    """A truncated file, a newer schema, another GPU and another device are UNJUDGED with the reason, and the test fails."""
    (path,) = project.glob("vram-baselines/rtx3060/emulated/*test_stays*.json")
    edited = path.read_text(encoding="utf-8").replace(old, new)
    path.write_text(edited, encoding="utf-8")

    run = run_with(project, 0, "-k", "test_stays")

    assert ("FAILED", "UNJUDGED") == (run.outcomes["test_stays"], run.verdicts["test_stays"])
    assert reason in run.cases["test_stays"]["verdicts"][-1]["reason"]
    assert edited == path.read_text(encoding="utf-8")


def test_a_faulty_baseline_is_not_overwritten(project: Path) -> None:
    """Accepting over a file that cannot be read ends like a usage error, and every file is kept."""
    (path,) = project.glob("vram-baselines/rtx3060/emulated/*test_stays*.json")
    path.write_text("{", encoding="utf-8")

    run = run_with(project, 4096, "--vram-accept")

    assert pytest.ExitCode.USAGE_ERROR == run.result.ret
    assert f"{path.name}: malformed: " in run.text
    assert "{" == path.read_text(encoding="utf-8")
    assert not [line for line in run.result.outlines if line.startswith("baseline replaced")]


@pytest.mark.long
@pytest.mark.parametrize("arguments", [("-n", "2"), ("--reruns", "1")], ids=["xdist", "reruns"])
def test_other_plugins(tmp_path: Path, accepted: Run, arguments: tuple[str, ...]) -> None:
    """Accepting and comparing are the same when workers run the tests, and when failing tests run again."""
    run_with(tmp_path, 0, "--vram-accept", *arguments)
    grown = run_with(tmp_path, 9 * MIB // 4, *arguments)

    assert stored(accepted.folder) == stored(tmp_path)
    assert {"test_grows[1048576]": "FAIL", "test_known_to_grow": "FAIL", "test_never_fits": "FAIL"} == {
        name: verdict for name, verdict in grown.verdicts.items() if verdict != "PASS"
    }


UNCLEAN = (
    HOLD
    + """
LEFT = []


@pytest.fixture
def breaks():
    yield
    raise RuntimeError("the fixture cannot be torn down")


@pytest.mark.vram
def test_breaks_afterwards(breaks):
    hold(2**20)


@pytest.mark.vram
def test_asserts():
    hold(2**20)
    assert False


@pytest.mark.vram
def test_leaves():
    LEFT.append(hold(2**20))


@pytest.mark.vram
def test_beside_it():
    hold(2**20)
"""
)


def test_what_is_not_clean_is_not_accepted(tmp_path: Path) -> None:
    """A test that failed in any of its phases, and one that ran beside leftovers, has no baseline."""
    run = run_once(tmp_path, {"test_unclean.py": UNCLEAN}, "-rA", "--vram-accept", *ON_RTX3060)

    assert {"test_leaves"} == set(stored(tmp_path))
    assert "baseline refused: test_unclean.py::test_breaks_afterwards on rtx3060: the test did not pass" in run.text


def test_a_refusal_alone_is_red(tmp_path: Path) -> None:
    """If every test passed and one could not become a baseline, the run does not look as if it had."""
    run = run_once(tmp_path, {"test_unclean.py": UNCLEAN}, "--vram-accept", "-k", "leaves or beside", *ON_RTX3060)

    assert pytest.ExitCode.TESTS_FAILED == run.result.ret
    assert "1.0 MiB left behind by test_unclean.py::test_leaves; free it there, or run this test alone" in run.text


def test_a_run_that_is_cut_short_accepts_nothing(tmp_path: Path) -> None:
    """After Ctrl-C no baseline is written, and the summary says so."""
    module = (
        HOLD
        + """
@pytest.mark.vram
def test_first():
    hold(2**20)


def test_stopped():
    raise KeyboardInterrupt
"""
    )
    run = run_once(tmp_path, {"test_cut.py": module}, "--vram-accept", *ON_RTX3060)

    assert {} == stored(tmp_path)
    assert "no baseline was accepted: the run did not come to its end" in run.text


@pytest.mark.parametrize(
    ("argument", "fault"),
    [
        ("max_growth='1'", "max_growth: got '1', expected a share, a size or both, as in '1%', '64MiB' or '1%+8MiB'"),
        ("max_growth='8MB'", "write KiB, MiB or GiB"),
        ("max_shrink=1", "max_shrink: got 1 (int), expected a non-empty string"),
        ("max_growth='active=1%'", "max_growth: got a limit for 'active', expected one for allocated, reserved, device"),
        ("max_creep='1%'", "max_creep: got '1%', expected a size, as in '64KiB', '1.5GiB' or '0'"),
    ],
)
def test_a_wrong_limit_is_a_usage_error(tmp_path: Path, argument: str, fault: str) -> None:
    """A limit that is none ends the run before any test, and says what one looks like."""
    module = f"import pytest\n@pytest.mark.vram({argument})\ndef test_a(): pass\n"

    run = run_once(tmp_path, {"test_wrong.py": module}, *ON_RTX3060)

    assert run.is_clean_usage_error
    assert fault in run.text
