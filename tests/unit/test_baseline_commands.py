"""`vramguard baseline`: what each subcommand prints, does to the files, and ends with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vramguard.baselines import BaselineStore
from pytest_vramguard.cli import main
from pytest_vramguard.render import json
from pytest_vramguard.units import MIB
from tests import samples

REPORT = "report.json"
NAME = f"{samples.baseline().case} on rtx3060 (emulated)"
PEAKS = "peaks: allocated 4898947072 bytes (4.56 GiB), reserved 5.00 GiB, device 5.25 GiB"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BaselineStore:
    """Return the empty store of the empty folder in which the command is started, beside the report of one clean case."""
    monkeypatch.chdir(tmp_path)
    Path(REPORT).write_text(json.render(samples.report()), encoding="utf-8")
    return BaselineStore(folder=tmp_path / "vram-baselines")


def test_accept(store: BaselineStore, capsys: pytest.CaptureFixture[str]) -> None:
    """The clean case of a report becomes a baseline that was measured by the report's tool."""
    status = main(["baseline", "accept", REPORT])

    assert (0, f"baseline new: {NAME}: {PEAKS}\n") == (status, capsys.readouterr().out)
    assert samples.baseline() == store.read(store.paths()[0])


@pytest.mark.usefixtures("store")
def test_accept_again(capsys: pytest.CaptureFixture[str]) -> None:
    """What is accepted already is said to be unchanged."""
    main(["baseline", "accept", REPORT])
    capsys.readouterr()

    assert 0 == main(["baseline", "accept", REPORT])
    assert f"baseline unchanged: {NAME}\n" == capsys.readouterr().out


def test_accept_of_another(store: BaselineStore, capsys: pytest.CaptureFixture[str]) -> None:
    """A baseline that is replaced is told with what changed."""
    smaller = replace(samples.PARTS, activations_bytes=samples.PARTS.activations_bytes - 24 * MIB)
    store.put(
        samples.baseline(
            measurement=samples.measurement(peak_allocated_bytes=smaller.total_bytes, parts=smaller, phases=()),
        )
    )

    assert 0 == main(["baseline", "accept", REPORT])
    assert [
        f"baseline replaced: {NAME}",
        "  was: peaks: allocated 4873781248 bytes (4.54 GiB), reserved 5.00 GiB, device 5.25 GiB",
        f"  is:  {PEAKS}",
        "  parts: activations +24.0 MiB (+2.4 %); finer: fragmentation -24.0 MiB (-5.1 %)",
        "  allocated peak by phase: load is new, first step is new, steady is new",
        "  environment: unchanged",
    ] == capsys.readouterr().out.splitlines()


def test_accept_refuses(store: BaselineStore, capsys: pytest.CaptureFixture[str]) -> None:
    """A case that is not clean is refused with the reason and a status of 1, and the others are accepted."""
    unclean = samples.case(id="test_other.py::test_other", reading=samples.measurement(allocator_retries=1))
    Path(REPORT).write_text(json.render(samples.report(unclean, samples.case())), encoding="utf-8")

    assert 1 == main(["baseline", "accept", REPORT])
    assert (
        "baseline refused: test_other.py::test_other on rtx3060: the allocator gave back cached memory 1 times to go on; "
        "leave more room"
    ) == capsys.readouterr().out.splitlines()[0]
    assert 1 == len(store.paths())


@pytest.mark.parametrize("text", ["", "{", '{"schema": 99}', '{"schema": 1, "tool": "x"}', "[]"])
def test_accept_of_a_faulty_report(store: BaselineStore, capsys: pytest.CaptureFixture[str], text: str) -> None:
    """A report that cannot be read is an error with its place, and leaves no baseline."""
    Path(REPORT).write_text(text, encoding="utf-8")

    assert 4 == main(["baseline", "accept", REPORT])
    assert capsys.readouterr().err.startswith(f"vramguard: {REPORT}: ")
    assert () == store.paths()


@pytest.mark.usefixtures("store")
def test_accept_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A report without a case ends with a status of 1."""
    Path(REPORT).write_text('{"schema": 1, "tool": "x", "cases": []}', encoding="utf-8")

    assert 1 == main(["baseline", "accept", REPORT])
    assert "report.json: no case\n" == capsys.readouterr().out


def test_list(store: BaselineStore, capsys: pytest.CaptureFixture[str]) -> None:
    """Each baseline is one line."""
    store.put(samples.baseline())
    store.put(samples.baseline(target="t4"))

    assert 0 == main(["baseline", "list"])
    assert [f"{NAME}: {PEAKS}", f"{NAME.replace(' rtx3060', ' t4')}: {PEAKS}"] == capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("store")
def test_list_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """No folder is no baseline."""
    assert 0 == main(["baseline", "list"])
    assert "vram-baselines: no baseline\n" == capsys.readouterr().out


def test_list_of_faulty_files(store: BaselineStore, capsys: pytest.CaptureFixture[str]) -> None:
    """Every faulty file is named, and the status is that of an error."""
    paths = [store.put(samples.baseline(target=target)) for target in ("rtx3060", "t4")]
    for path in paths:
        path.write_text("{", encoding="utf-8")

    assert 4 == main(["baseline", "list"])
    assert all(str(path.relative_to(store.folder)) in capsys.readouterr().err for path in paths[:1])


def test_show(store: BaselineStore, capsys: pytest.CaptureFixture[str]) -> None:
    """A part of the case's id is enough to see all numbers of a baseline."""
    store.put(samples.baseline())

    assert 0 == main(["baseline", "show", "test_7b_nf4"])
    assert [
        NAME,
        "  peak allocated 4898947072 bytes (4.56 GiB)",
        "  peak reserved 5368709120 bytes (5.00 GiB)",
        "  peak device 5637144576 bytes (5.25 GiB)",
        "  weights 3758096384 bytes (3.50 GiB)",
        "  gradients 16777216 bytes (0.02 GiB)",
        "  optimizer 8388608 bytes (0.01 GiB)",
        "  activations 1073741824 bytes (1.00 GiB)",
        "  other 41943040 bytes (0.04 GiB)",
        "  allocated peak of phase 'load' 3758096384 bytes (3.50 GiB)",
        "  allocated peak of phase 'first step' 4898947072 bytes (4.56 GiB)",
        "  allocated peak of phase 'steady' 4898947072 bytes (4.56 GiB)",
        "  device emulated",
        "  gpu NVIDIA GeForce RTX 3060",
        "  driver 580.65.06",
        "  torch 2.14.1",
        "  cuda 13.0",
        "  measured by pytest-vramguard 0.1.0",
    ] == capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("store")
def test_show_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that no baseline has is an error with the next step."""
    assert 4 == main(["baseline", "show", "test_7b"])
    assert (
        "vramguard: vram-baselines: no baseline of a case with 'test_7b' in its id; list them with: vramguard baseline list\n"
    ) == capsys.readouterr().err


def test_diff(store: BaselineStore, capsys: pytest.CaptureFixture[str]) -> None:
    """Each case of a report is compared with its baseline, and a case without one is listed too."""
    others = (
        samples.case(id="test_other.py::test_other"),
        samples.case(id="test_full.py::test_full", reading=samples.out_of_memory()),
    )
    Path(REPORT).write_text(json.render(samples.report(samples.case(), *others)), encoding="utf-8")
    store.put(samples.baseline(environment=(*samples.baseline().environment[:-1], ("cuda", "12.8"))))

    assert 0 == main(["baseline", "diff", REPORT])
    assert [
        NAME,
        f"  was: {PEAKS}",
        f"  is:  {PEAKS}",
        "  parts: unchanged",
        "  allocated peak by phase: unchanged",
        "  environment: cuda 12.8 -> 13.0",
        "test_other.py::test_other on rtx3060 (emulated): no baseline",
        "test_full.py::test_full on rtx3060 (emulated): not measured to the end",
    ] == capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("dry_run", [False, True])
def test_prune(store: BaselineStore, capsys: pytest.CaptureFixture[str], dry_run: bool) -> None:  # noqa: FBT001 (a parameter)
    """Baselines without a case go, and what killed processes left; those of other targets and devices stay."""
    kept = store.put(samples.baseline())
    other_target = store.put(samples.baseline(case="test_gone.py::test_gone", target="t4"))
    stale = store.put(samples.baseline(case="test_gone.py::test_gone"))
    remains = stale.with_name(f".{stale.name}.1.part")
    remains.write_text("{", encoding="utf-8")

    status = main(["baseline", "prune", REPORT, *(["--dry-run"] if dry_run else [])])

    word = "would remove" if dry_run else "removed"
    relative = [path.relative_to(store.folder.parent) for path in (stale, remains)]
    assert (0, "".join(f"{word} {path}\n" for path in relative)) == (status, capsys.readouterr().out)
    assert {kept, other_target, *((stale,) if dry_run else ())} == set(store.paths())
    assert dry_run == remains.exists()


@pytest.mark.usefixtures("store")
def test_prune_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Where every baseline has a case nothing is removed."""
    assert 0 == main(["baseline", "prune", REPORT])
    assert "vram-baselines: nothing to remove\n" == capsys.readouterr().out


def test_the_project_names_the_folder(store: BaselineStore) -> None:
    """`[tool.vramguard]` says where the baselines are, and the command line is stronger."""
    folder = store.folder.parent
    (folder / "pyproject.toml").write_text('[tool.vramguard]\nbaselines = "ours"\n', encoding="utf-8")

    main(["baseline", "accept", REPORT])
    main(["baseline", "--baselines", "theirs", "accept", REPORT])

    assert [1, 1] == [len(BaselineStore(folder=folder / name).paths()) for name in ("ours", "theirs")]


def test_a_folder_that_cannot_be_written(store: BaselineStore, capsys: pytest.CaptureFixture[str]) -> None:
    """A file in the place of the folder is an error with the next step, and is kept."""
    store.folder.write_text("mine", encoding="utf-8")

    assert 4 == main(["baseline", "accept", REPORT])
    assert "expected to write the baseline there; correct the folder or its permissions" in capsys.readouterr().err
    assert "mine" == store.folder.read_text(encoding="utf-8")
