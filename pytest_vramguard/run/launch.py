"""Run a command on an emulated card, gather what its processes measured, and judge them."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from pytest_vramguard.artifacts import keep_snapshot, left_at, prepare_folder
from pytest_vramguard.baselines.store import file_name
from pytest_vramguard.devices.emulated import libraries
from pytest_vramguard.devices.emulated.device_facts import facts_of
from pytest_vramguard.devices.emulated.requirements import require_emulation
from pytest_vramguard.devices.stack import allocator_settings
from pytest_vramguard.errors import SettingsError
from pytest_vramguard.judgement import judged
from pytest_vramguard.reading import NotMeasured
from pytest_vramguard.report_table import ReportError, reading_from_table
from pytest_vramguard.run.process import EVENTS_VARIABLE, FOLDER_VARIABLE, SITES_VARIABLE, SNAPSHOT_ENDING
from pytest_vramguard.run.ranks import ALL_RANKS, RANKS_VARIABLE
from pytest_vramguard.run.tree import run_tree
from pytest_vramguard.tables import reading
from pytest_vramguard.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from pytest_vramguard.cards import Card
    from pytest_vramguard.reading import Reading
    from pytest_vramguard.report import CaseResult
    from pytest_vramguard.run.ranks import Ranks
    from pytest_vramguard.settings import Settings

STARTUP_FOLDER: Final = Path(__file__).parent / "startup"
PACKAGE_FOLDER: Final = Path(__file__).parents[2]
PACKAGE_VARIABLE: Final = "VRAMGUARD_PACKAGE"


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """The machine that is emulated, and how much of a distributed command is run on it."""

    card: Card
    gpus: int = 1
    """Cards of this kind, 1 to `MOST_GPUS`."""
    ranks: Ranks = ALL_RANKS


def run_command(command: Sequence[str], node: Node, settings: Settings) -> tuple[tuple[CaseResult, ...], int]:
    """Run `command` with every Python process below it on `node`; return its results and the command's status.

    There is a result for each process and each card that it used. A process that never uses a card has none. If none does, one
    result says so, and is not judged.

    Raises:
        SettingsError: the command does not exist, or nothing can be written where artifacts belong.
        DeviceUnavailable: this machine cannot emulate a card.
    """
    require_emulation()
    if settings.artifacts is not None:
        prepare_folder(settings.artifacts)
    if shutil.which(command[0]) is None:
        message = f"command {command[0]!r}: not found, expected a program on the path; correct it"
        raise SettingsError(message)
    with TemporaryDirectory(prefix="vramguard-") as folder:
        place = Path(folder)
        cut_short: set[str] = set()
        status = run_tree(
            command,
            _environment(node, folder, os.environ) | _wishes(settings),
            folder,
            lambda: cut_short.update(_stems(place) - _stems(place, ".json")),
        )
        records = _records(place, " ".join(command), node.ranks, cut_short)
        return tuple(_judged(record, node.card, settings) for record in records), status


def _judged(record: ProcessRecord, card: Card, settings: Settings) -> CaseResult:
    device = replace(facts_of(card), versions=record.versions)
    result = judged(record.name, card, device, record.reading, settings, conditions=allocator_settings())
    if settings.artifacts is None or record.snapshot is None or result.outcome is not Outcome.FAIL:
        return result
    kept = settings.artifacts / file_name(result.id, ".pickle")
    return replace(result, snapshot=left_at(kept, partial(keep_snapshot, record.snapshot)))


def _environment(node: Node, folder: str, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which every process below finds the emulated libraries, and the meter."""
    chosen = {} if node.ranks == ALL_RANKS else {RANKS_VARIABLE: node.ranks.text}
    preload = [str(libraries.FOLDER / name) for name in (libraries.CORE, *libraries.SONAMES)]
    return {
        "HF_DEACTIVATE_ASYNC_LOAD": "1",  # threads that load weights allocate in an order that is luck; see EmulatedDevice
        **inherited,
        "LD_PRELOAD": _joined(":", *preload, inherited.get("LD_PRELOAD")),
        "PYTHONPATH": _joined(os.pathsep, str(STARTUP_FOLDER), inherited.get("PYTHONPATH")),
        "TRITON_LIBCUDA_PATH": str(libraries.FOLDER),
        libraries.CARD_VARIABLE: libraries.card_text(node.card, node.gpus),
        **chosen,
        PACKAGE_VARIABLE: str(PACKAGE_FOLDER),
        FOLDER_VARIABLE: folder,
    }


def _wishes(settings: Settings) -> dict[str, str]:
    """Return what else the processes are to record."""
    sites = {SITES_VARIABLE: str(Path.cwd())} if settings.wants_sites else {}
    return sites if settings.artifacts is None else {**sites, EVENTS_VARIABLE: "1"}


def _joined(separator: str, *parts: str | None) -> str:
    return separator.join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessRecord:
    """What one process left behind."""

    name: str
    """The command, and which of its processes."""
    reading: Reading
    versions: tuple[tuple[str, str], ...] = ()
    """Packages in the environment of the process, which may not be this one's."""
    snapshot: Path | None = None
    """The allocator's history, where the process was to leave one; in the folder of the run, which is removed at its end."""


def _stems(folder: Path, *endings: str) -> set[str]:
    """Return the names of the records in a folder, of processes that have begun, or of those that have ended."""
    return {path.stem for path in folder.iterdir() if path.suffix in (endings or (".begun", ".json"))}


def _records(folder: Path, command: str, ranks: Ranks, cut_short: Collection[str]) -> list[ProcessRecord]:
    """Return what each process left; one that was interrupted, or began to use a card and left nothing, is not measured."""
    finished = _stems(folder, ".json") - set(cut_short)
    records = []
    for stem, label in _labels(_stems(folder)).items():
        name = f"{command} [{label}]"
        if stem in finished:
            records += _of_process(folder / f"{stem}.json", name)
        elif stem in cut_short:
            records.append(_unmeasured(name, "interrupted before the process had ended"))
        else:
            records.append(_unmeasured(name, "the process was killed before it could say what it measured"))
    missed = [
        _unmeasured(f"{command} [rank-{rank}]", f"rank {rank}: asked for with --ranks, but no such rank used a card")
        for rank in ranks.named
        if not any(folder.glob(f"rank-{rank}-*"))
    ]
    nobody = _unmeasured(command, "no process of the command used a CUDA card")
    return [*records, *missed] or [nobody]


def _labels(stems: Iterable[str]) -> dict[str, str]:
    """Return, by the name of its record, what each process is called in the report.

    Process numbers differ from run to run, so the processes of a rank, and those of no rank, are counted instead: a case has
    the same id, and with it the same baseline, every time.
    """
    counts: Counter[str] = Counter()
    labels = {}
    for stem in sorted(stems, key=_numbers):
        rank = stem[: stem.index("process-")]
        counts[rank] += 1
        labels[stem] = f"{rank}process-{counts[rank]}"
    return labels


def _numbers(stem: str) -> list[int]:
    """Return the numbers in the name of a record: ranks and process."""
    return [int(part) for part in stem.split("-") if part.isdecimal()]


def _unmeasured(name: str, reason: str) -> ProcessRecord:
    return ProcessRecord(name=name, reading=NotMeasured(reason=reason))


def _of_process(path: Path, name: str) -> list[ProcessRecord]:
    """Return a record for each card that a process used, named `name` and, unless there was but one, the card."""
    snapshot = path.with_suffix(f".{SNAPSHOT_ENDING}")
    with reading(path, ReportError) as root:
        versions = root.table("versions")
        packages = tuple((package, versions.string(package)) for package in versions.mapping)
        tables = root.tables("readings")
        several = len(tables) > 1
        return [
            ProcessRecord(
                name=f"{name.removesuffix(']')}-cuda-{table.integer('device')}]" if several else name,
                reading=reading_from_table(table.table("reading").mapping, source=path.name),
                versions=packages,
                snapshot=snapshot if snapshot.exists() else None,
            )
            for table in tables
        ]
