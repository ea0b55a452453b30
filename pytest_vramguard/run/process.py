"""One process below `vramguard run`: measured from its first use of the card to its end.

Imported by `startup/sitecustomize.py` when torch has been imported; what imports torch itself stands inside the functions.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_vramguard.artifacts import write_snapshot
from pytest_vramguard.devices.emulated import libraries
from pytest_vramguard.devices.emulated.evidence import absence_notes, communication_notes, gaps_in, notes_in
from pytest_vramguard.devices.emulated.requirements import CUDA_MAJORS, mismatch
from pytest_vramguard.devices.stack import find_torch, installed_versions
from pytest_vramguard.reading import Measurement, NotMeasured
from pytest_vramguard.report_table import reading_to_table
from pytest_vramguard.run.ranks import place_in

if TYPE_CHECKING:
    from types import TracebackType

    from pytest_vramguard.reading import OutOfMemory, Reading

SNAPSHOT_ENDING = "pickle"
"""Of the file beside a record in which the allocator's history is."""
FOLDER_VARIABLE = "VRAMGUARD_FOLDER"
"""Environment variable with the folder in which each process leaves its record; see `launch.py`."""
SITES_VARIABLE = "VRAMGUARD_SITES"
"""Environment variable with the folder from which the paths of lines that allocate are told; not set, none are recorded."""
EVENTS_VARIABLE = "VRAMGUARD_EVENTS"
"""Environment variable that is set where each process shall leave a snapshot of the allocator's history beside its record."""
FIRST_PHASE = "until the first optimizer step"


def torch_imported() -> None:
    """Begin to measure when CUDA is first used; a process that only launches others never is."""
    from pytest_vramguard.devices.cuda_start import when_cuda_starts

    build = find_torch()
    if build is not None and build.cuda_major not in CUDA_MAJORS:
        _write_unmeasured(f"torch {build.version}: {mismatch(build.cuda)}; install that build where the command runs")
        return
    ranks = place_in(os.environ)
    if ranks is not None and ranks.absent_count:
        from pytest_vramguard.devices.emulated.absent_ranks import do_without_absent_ranks

        do_without_absent_ranks()
    when_cuda_starts(lambda: MeasuredProcess().begin())


class MeasuredProcess:
    """This process as a case."""

    def __init__(self) -> None:
        """Prepare to measure; nothing is asked of torch yet."""
        from pytest_vramguard.devices.emulated.known.mode import KnownValues
        from pytest_vramguard.devices.emulated.work import WorkWatch
        from pytest_vramguard.meter.meter import Meter

        self._ranks = place_in(os.environ)
        self._values = KnownValues()
        if self._ranks is not None and self._ranks.absent_count:
            self._values.run_alone(self._ranks.present)
        self._work = WorkWatch(self._values)
        below = os.environ.get(SITES_VARIABLE)
        self._meter = Meter(
            timed=False,
            warmup_steps=0,
            target_context_bytes=0,
            measures_context=True,
            counted_step=self._work.step,
            sites_below=None if below is None else Path(below),
            keeps_events=EVENTS_VARIABLE in os.environ,
        )
        self._stack = ExitStack()
        self._phase = ExitStack()
        self._process_id = os.getpid()
        self._error: BaseException | None = None

    def begin(self) -> None:
        """Start to measure and leave a sign, so that a process that is killed is missed."""
        from pytest_vramguard.devices.emulated.known.watch import watching
        from pytest_vramguard.meter.steps import after_each_optimizer_step

        _record("begun").touch()
        self._meter.begin()
        self._stack.enter_context(watching(self._values))
        self._phase.enter_context(self._meter.phase(FIRST_PHASE))
        after_each_optimizer_step(self._next_phase)
        self._show_error, sys.excepthook = sys.excepthook, self._keep_error
        atexit.register(self.end)

    def _next_phase(self) -> None:
        """A step ends where an optimizer has stepped: nothing else marks it in code that nobody changed."""
        self._phase.close()
        self._phase.enter_context(self._meter.step())

    def _keep_error(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """Remember the exception that ends the process, and show it as always."""
        self._error = error
        self._show_error(kind, error, trace)

    def end(self) -> None:
        """Leave the record of this process; a fork of it that ends leaves none."""
        if os.getpid() != self._process_id:
            return
        from pytest_vramguard.meter.memory_errors import out_of_memory_in

        full = out_of_memory_in(self._error)
        readings = self._meter.end_each(full)
        self._stack.close()
        gaps = gaps_in(self._values.log)
        if gaps:
            _write_unmeasured("; ".join(gaps))
        elif self._error is not None and full is None:
            _write_unmeasured(f"the process ended with {type(self._error).__name__}: {self._error}")
        else:
            _write(*(self._annotated(device, reading) for device, reading in sorted(readings.items())))
        snapshot = self._meter.snapshot()
        if snapshot is not None:  # comes last, since what was measured counts without it
            write_snapshot(snapshot, _record(SNAPSHOT_ENDING))

    def _annotated(self, device: int, reading: Measurement | OutOfMemory) -> tuple[int, Reading]:
        ranks = self._ranks
        absent = absence_notes(ranks.world_size, ranks.present) if ranks is not None and ranks.absent_count else ()
        notes = (*reading.notes, *notes_in(self._values.log), *communication_notes(device), *absent)
        annotated = replace(reading, notes=notes, outside=libraries.outside(device))
        return device, replace(annotated, work=self._work.work) if isinstance(annotated, Measurement) else annotated


def _record(ending: str) -> Path:
    """Return where this process leaves a file; its name has the ranks that torchrun gave it."""
    ranks = [f"{word}-{os.environ[name]}-" for word, name in (("rank", "RANK"), ("local", "LOCAL_RANK")) if name in os.environ]
    return Path(os.environ[FOLDER_VARIABLE], f"{''.join(ranks)}process-{os.getpid()}.{ending}")


def _write_unmeasured(reason: str) -> None:
    _write((0, NotMeasured(reason=reason)))


def _write(*readings: tuple[int, Reading]) -> None:
    """Write the record, whole or not at all."""
    place = _record("json")
    unfinished = place.with_suffix(".part")
    tables = [{"device": device, "reading": reading_to_table(reading)} for device, reading in readings]
    unfinished.write_text(json.dumps({"versions": dict(installed_versions()), "readings": tables}), encoding="utf-8")
    unfinished.replace(place)
