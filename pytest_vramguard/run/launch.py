"""Run a command on an emulated card, gather what its processes measured, and judge them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from pytest_vramguard.devices.emulated import libraries
from pytest_vramguard.devices.emulated.device_facts import facts_of
from pytest_vramguard.devices.emulated.requirements import require_emulation
from pytest_vramguard.devices.stack import allocator_settings
from pytest_vramguard.errors import SettingsError
from pytest_vramguard.guard import judged
from pytest_vramguard.reading import NotMeasured
from pytest_vramguard.report_table import ReportError, reading_from_table
from pytest_vramguard.run.process import FOLDER_VARIABLE
from pytest_vramguard.tables import reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_vramguard.cards import Card
    from pytest_vramguard.reading import Reading
    from pytest_vramguard.report import CaseResult
    from pytest_vramguard.settings import Settings

STARTUP_FOLDER: Final = Path(__file__).parent / "startup"
PACKAGE_FOLDER: Final = Path(__file__).parents[2]
PACKAGE_VARIABLE: Final = "VRAMGUARD_PACKAGE"
SIGNAL_STATUS: Final = 128
"""What a shell adds to the number of the signal that ended a command."""


def run_command(command: Sequence[str], card: Card, settings: Settings) -> tuple[tuple[CaseResult, ...], int]:
    """Run `command` with every Python process below it on `card`; return a result for each process, and the command's status.

    A process that never uses the card has no result. If none does, one result says so, and is not judged.

    Raises:
        SettingsError: the command does not exist.
        DeviceUnavailable: this machine cannot emulate a card.
    """
    require_emulation()
    if shutil.which(command[0]) is None:
        message = f"command {command[0]!r}: not found, expected a program on the path; correct it"
        raise SettingsError(message)
    with TemporaryDirectory(prefix="vramguard-") as folder:
        status = _wait(command, _environment(card, folder, os.environ))
        records = _records(Path(folder), " ".join(command))
    return tuple(_judged(record, card, settings) for record in records), status


def _judged(record: ProcessRecord, card: Card, settings: Settings) -> CaseResult:
    device = replace(facts_of(card), versions=record.versions)
    return judged(record.name, card, device, record.reading, settings, conditions=allocator_settings())


def _environment(card: Card, folder: str, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which every process below finds the emulated libraries, and the meter."""
    preload = [str(libraries.FOLDER / name) for name in (libraries.CORE, *libraries.SONAMES)]
    return {
        **inherited,
        "LD_PRELOAD": _joined(":", *preload, inherited.get("LD_PRELOAD")),
        "PYTHONPATH": _joined(os.pathsep, str(STARTUP_FOLDER), inherited.get("PYTHONPATH")),
        "TRITON_LIBCUDA_PATH": str(libraries.FOLDER),
        libraries.CARD_VARIABLE: libraries.card_text(card),
        PACKAGE_VARIABLE: str(PACKAGE_FOLDER),
        FOLDER_VARIABLE: folder,
    }


def _joined(separator: str, *parts: str | None) -> str:
    return separator.join(part for part in parts if part)


def _wait(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the command to its end and return its status, as a shell would."""
    with subprocess.Popen(command, env=environment) as process, _signals_left_to(process):
        status = process.wait()
    return SIGNAL_STATUS - status if status < 0 else status


@contextmanager
def _signals_left_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let the command decide what Ctrl-C means (the terminal tells it too), and pass a termination on to it."""
    former = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
    }
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessRecord:
    """What one process left behind."""

    name: str
    """The command, and which of its processes."""
    reading: Reading
    versions: tuple[tuple[str, str], ...] = ()
    """Packages in the environment of the process, which may not be this one's."""


def _records(folder: Path, command: str) -> list[ProcessRecord]:
    """Return what each process left; one that began to use the card and left nothing is not measured."""
    ended = [_record(path, f"{command} [{path.stem}]") for path in sorted(folder.glob("*.json"))]
    killed = [
        ProcessRecord(
            name=f"{command} [{path.stem}]",
            reading=NotMeasured(reason="the process was killed before it could say what it measured"),
        )
        for path in sorted(folder.glob("*.begun"))
        if not path.with_suffix(".json").exists()
    ]
    nobody = ProcessRecord(name=command, reading=NotMeasured(reason="no process of the command used a CUDA card"))
    return [*ended, *killed] or [nobody]


def _record(path: Path, name: str) -> ProcessRecord:
    with reading(path, ReportError) as root:
        versions = root.table("versions")
        return ProcessRecord(
            name=name,
            reading=reading_from_table(root.table("reading").mapping, source=path.name),
            versions=tuple((package, versions.string(package)) for package in versions.mapping),
        )
