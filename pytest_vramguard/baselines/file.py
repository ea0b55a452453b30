"""One baseline as a JSON file: read with every fault located, replaced whole or not at all."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

from pytest_vramguard.baseline import Baseline
from pytest_vramguard.errors import BaselineError
from pytest_vramguard.report_table import measurement_in, reading_to_table
from pytest_vramguard.tables import reading

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_vramguard.reading import Measurement
    from pytest_vramguard.tables import Table

SCHEMA: Final = 1
"""Version of the form; a reader refuses newer ones. 1: the first."""
PART_ENDING: Final = ".part"
"""Ending of a file that is not whole yet; one that stays behind belongs to a process that was killed."""


def render_baseline(baseline: Baseline) -> str:
    """Return the text of the file: keys in a fixed order, one value a line, ASCII, a newline at the end."""
    document = {
        "schema": SCHEMA,
        "tool": baseline.tool,
        "case": baseline.case,
        "target": baseline.target,
        "environment": dict(baseline.environment),
        "measurement": reading_to_table(baseline.measurement),
    }
    return json.dumps(document, indent=2) + "\n"


def read_baseline(path: Path) -> Baseline:
    """Return the baseline that `write_baseline` put at `path`; keys that this version does not know are passed over.

    Raises:
        BaselineError: the file cannot be read, is truncated, is of a newer schema, or its values are missing, of the wrong type
            or contradict each other; all faults together.
    """
    with reading(path, BaselineError) as root:
        schema = root.integer("schema", minimum=1)
        if schema > SCHEMA:
            message = f"{path}: schema: got {schema}, expected at most {SCHEMA}; next step: upgrade pytest-vramguard"
            raise BaselineError(message)
        environment = root.table("environment")
        environment.string("device")
        environment.string("gpu")
        measured = root.table("measurement")
        baseline = Baseline(
            case=root.string("case"),
            target=root.string("target"),
            environment=tuple((key, environment.string(key)) for key in environment.mapping),
            measurement=measurement_in(measured),
            tool=root.string("tool"),
        )
        if not root.faults:
            _check_sums(measured, baseline.measurement)
    return baseline


def _check_sums(table: Table, measurement: Measurement) -> None:
    """Note a fault where numbers contradict each other, as they do after an edit by hand."""
    peak_bytes = measurement.peak_allocated_bytes
    if measurement.parts.total_bytes != peak_bytes:
        table.fault("parts", f"got a sum of {measurement.parts.total_bytes}, expected peak_allocated_bytes, {peak_bytes}")
    for phase in measurement.phases:
        if phase.peak_allocated_bytes > peak_bytes:
            found = f"got a peak_allocated_bytes of {phase.peak_allocated_bytes}"
            table.table("phases").fault(phase.name, f"{found}, expected at most that of the case, {peak_bytes}")


def write_baseline(baseline: Baseline, path: Path) -> None:
    """Replace the file at `path`, making the folders that are missing.

    The new file is written beside it and takes its name only when it is whole on the disk, so a process that is killed, or a
    machine that stops, leaves the old file or the new one.

    Raises:
        BaselineError: the file cannot be written there; the old one is as it was.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{PART_ENDING}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(render_baseline(baseline))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        _sync_folder(path.parent)
    except OSError as fault:
        message = f"{path}: {fault.strerror}, expected to write the baseline there; correct the folder or its permissions"
        raise BaselineError(message) from fault


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk, too: a file system may write it later than the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
