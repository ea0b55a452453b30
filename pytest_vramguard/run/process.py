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

from pytest_vramguard.devices.emulated.evidence import gaps_in, notes_in
from pytest_vramguard.devices.emulated.requirements import CUDA_MAJORS, mismatch
from pytest_vramguard.devices.stack import find_torch, installed_versions
from pytest_vramguard.reading import NotMeasured, Reading
from pytest_vramguard.report_table import reading_to_table

if TYPE_CHECKING:
    from types import TracebackType

FOLDER_VARIABLE = "VRAMGUARD_FOLDER"
"""Environment variable with the folder in which each process leaves its record; see `launch.py`."""
FIRST_PHASE = "until the first optimizer step"


def torch_imported() -> None:
    """Begin to measure when CUDA is first used; a process that only launches others never is."""
    from pytest_vramguard.devices.cuda_start import when_cuda_starts

    build = find_torch()
    if build is not None and build.cuda_major not in CUDA_MAJORS:
        _write(NotMeasured(reason=f"torch {build.version}: {mismatch(build.cuda)}; install that build where the command runs"))
        return
    when_cuda_starts(lambda: MeasuredProcess().begin())


class MeasuredProcess:
    """This process as a case."""

    def __init__(self) -> None:
        """Prepare to measure; nothing is asked of torch yet."""
        from pytest_vramguard.devices.emulated.known.mode import KnownValues
        from pytest_vramguard.meter.meter import Meter

        self._values = KnownValues()
        self._meter = Meter(timed=False, warmup_steps=0, target_context_bytes=0, measures_context=True)
        self._stack = ExitStack()
        self._phase = ExitStack()
        self._process_id = os.getpid()
        self._error: BaseException | None = None

    def begin(self) -> None:
        """Start to measure and leave a sign, so that a process that is killed is missed."""
        from pytest_vramguard.devices.emulated.known.watch import watching
        from pytest_vramguard.meter.steps import after_each_optimizer_step

        _place("begun").touch()
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
        reading = self._meter.end(full)
        self._stack.close()
        gaps = gaps_in(self._values.log)
        if gaps:
            _write(NotMeasured(reason="; ".join(gaps)))
        elif self._error is not None and full is None:
            _write(NotMeasured(reason=f"the process ended with {type(self._error).__name__}: {self._error}"))
        else:
            _write(replace(reading, notes=(*reading.notes, *notes_in(self._values.log))))


def _place(ending: str) -> Path:
    rank = os.environ.get("RANK")
    name = f"process-{os.getpid()}" if rank is None else f"rank-{rank}-process-{os.getpid()}"
    return Path(os.environ[FOLDER_VARIABLE], f"{name}.{ending}")


def _write(reading: Reading) -> None:
    """Write the record, whole or not at all."""
    place = _place("json")
    unfinished = place.with_suffix(".part")
    unfinished.write_text(
        json.dumps({"versions": dict(installed_versions()), "reading": reading_to_table(reading)}), encoding="utf-8"
    )
    unfinished.replace(place)
