"""A report as plain dicts, lists, text and numbers, and back.

This form is what `--vram-json` writes, what travels between the processes of pytest-xdist and what later runs compare with.
What follows from other numbers (`peak_device_bytes`, `step_seconds`, `outcome`) is written for other programs and is not read
back.
Texts are not empty and the phases of a reading have names of their own; that is the meter's and the device's part.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Final

from pytest_vramguard.errors import VramguardError
from pytest_vramguard.reading import Longest, Measurement, NotMeasured, OutOfMemory, OutsideMemory, Parts, PhasePeak, StepSample
from pytest_vramguard.report import CaseResult, DeviceFacts, Report
from pytest_vramguard.tables import checking
from pytest_vramguard.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_vramguard.reading import Reading
    from pytest_vramguard.tables import Table

SCHEMA: Final = 1
"""Version of the form; a reader refuses newer ones. 1: the first."""


class ReportError(VramguardError):
    """A stored report is newer than this version can read, or malformed."""

    slug = "report"


def report_to_table(report: Report) -> dict[str, object]:
    """Return `report` in builtins, with the version of the form."""
    return {"schema": SCHEMA, "tool": report.tool, "cases": [case_to_table(case) for case in report.cases]}


def report_from_table(mapping: Mapping[str, object], source: str = "report") -> Report:
    """Return the report that `report_to_table` wrote; keys that it does not know are passed over.

    Raises:
        ReportError: the schema is newer than `SCHEMA`, or values are missing or of the wrong type; all faults of `source`
            together.
    """
    with checking(mapping, source, ReportError) as root:
        schema = root.integer("schema", minimum=1)
        if schema > SCHEMA:
            raise ReportError(f"{source}: schema: got {schema}, expected at most {SCHEMA}; next step: upgrade pytest-vramguard")
        return Report(tool=root.string("tool"), cases=tuple(map(_case, root.tables("cases"))))


def case_to_table(case: CaseResult) -> dict[str, object]:
    """Return `case` in builtins: nothing but dicts with text keys, lists, text, numbers and None."""
    return {
        "id": case.id,
        "target": case.target,
        "target_usable_bytes": case.target_usable_bytes,
        "outcome": case.outcome.value,
        "device": {**asdict(case.device), "versions": dict(case.device.versions)},
        "reading": reading_to_table(case.reading),
        "verdicts": [_verdict_to_table(verdict) for verdict in case.verdicts],
        "advice": case.advice,
        "conditions": dict(case.conditions),
    }


def case_from_table(mapping: Mapping[str, object], source: str = "case") -> CaseResult:
    """Return the case that `case_to_table` wrote, equal to the one that went in.

    Raises:
        ReportError: values are missing or of the wrong type; all faults of `source` together.
    """
    with checking(mapping, source, ReportError) as root:
        return _case(root)


def _case(table: Table) -> CaseResult:
    return CaseResult(
        id=table.string("id"),
        target=table.string("target"),
        target_usable_bytes=table.integer("target_usable_bytes", minimum=1),
        device=_device(table.table("device")),
        reading=_reading(table.table("reading")),
        verdicts=tuple(map(_verdict, table.tables("verdicts"))),
        advice=table.string("advice", default=None),
        conditions=_pairs(table.table("conditions", required=False)),
    )


def _pairs(table: Table) -> tuple[tuple[str, str], ...]:
    return tuple((name, table.string(name)) for name in table.mapping)


def _device(table: Table) -> DeviceFacts:
    return DeviceFacts(
        kind=table.string("kind"),
        name=table.string("name"),
        usable_bytes=table.integer("usable_bytes", minimum=0),
        compute_capability=table.string("compute_capability"),
        driver=table.string("driver"),
        versions=_pairs(table.table("versions")),
    )


def reading_to_table(reading: Reading) -> dict[str, object]:
    """Return `reading` in builtins; `kind` says which it is."""
    # Every branch returns, so a reading that is added and forgotten here is mypy's "missing return statement".
    match reading:
        case NotMeasured():
            return {"kind": "not_measured", "reason": reading.reason}
        case OutOfMemory():
            memory = _memory_to_table(reading)
            ended = {"message": reading.message, "phase": reading.phase, "phases_around": list(reading.phases_around)}
            return {"kind": "out_of_memory", **memory, **ended}
        case Measurement():
            return {
                "kind": "measurement",
                **_memory_to_table(reading),
                "step_seconds": [step.device_seconds for step in reading.steps],
                "steps": [asdict(step) for step in reading.steps],
                "step_count": reading.step_count,
                "after_step_bytes": list(reading.after_step_bytes),
                "allocator_retries": reading.allocator_retries,
                "out_of_memory_count": reading.out_of_memory_count,
                "leftover_bytes": reading.leftover_bytes,
                "leftover_from": reading.leftover_from,
                "longest": None if reading.longest is None else asdict(reading.longest),
            }


def reading_from_table(mapping: Mapping[str, object], source: str = "reading") -> Reading:
    """Return the reading that `reading_to_table` wrote.

    Raises:
        ReportError: values are missing or of the wrong type; all faults of `source` together.
    """
    with checking(mapping, source, ReportError) as root:
        return _reading(root)


def _reading(table: Table) -> Reading:
    kind = table.choice("kind", ("measurement", "out_of_memory", "not_measured"))
    if kind == "measurement":
        return measurement_in(table)
    if kind == "out_of_memory":
        return _out_of_memory(table)
    return NotMeasured(reason=table.string("reason"))


def measurement_in(table: Table) -> Measurement:
    """Return the measurement in `table`, whose faults are noted there."""
    return Measurement(
        peak_allocated_bytes=_size(table, "peak_allocated_bytes"),
        peak_reserved_bytes=_size(table, "peak_reserved_bytes"),
        context_bytes=_size(table, "context_bytes"),
        parts=_parts(table.table("parts")),
        outside=_outside(table),
        phases=_phases(table.table("phases")),
        steps=tuple(map(_step, table.tables("steps"))),
        step_count=table.integer("step_count", minimum=0),
        after_step_bytes=table.integers("after_step_bytes", default=()),
        allocator_retries=table.integer("allocator_retries", minimum=0),
        out_of_memory_count=table.integer("out_of_memory_count", minimum=0),
        leftover_from=table.string("leftover_from", default=None),
        leftover_bytes=_size(table, "leftover_bytes"),
        longest=_longest(table),
        notes=table.strings("notes"),
    )


def _out_of_memory(table: Table) -> OutOfMemory:
    return OutOfMemory(
        message=table.string("message"),
        phase=table.string("phase"),
        phases_around=table.strings("phases_around", default=()),
        peak_allocated_bytes=_size(table, "peak_allocated_bytes"),
        peak_reserved_bytes=_size(table, "peak_reserved_bytes"),
        context_bytes=_size(table, "context_bytes"),
        parts=_parts(table.table("parts")),
        outside=_outside(table),
        phases=_phases(table.table("phases")),
        notes=table.strings("notes"),
    )


def _memory_to_table(reading: Measurement | OutOfMemory) -> dict[str, object]:
    return {
        "peak_allocated_bytes": reading.peak_allocated_bytes,
        "peak_reserved_bytes": reading.peak_reserved_bytes,
        "peak_device_bytes": reading.peak_device_bytes,
        "context_bytes": reading.context_bytes,
        "parts": {_part_name(field.name): getattr(reading.parts, field.name) for field in fields(Parts)},
        "outside": None if reading.outside is None else asdict(reading.outside),
        "phases": _phases_to_table(reading.phases),
        "notes": list(reading.notes),
    }


def _part_name(field_name: str) -> str:
    return field_name.removesuffix("_bytes")


def _parts(table: Table) -> Parts:
    return Parts(**{field.name: _size(table, _part_name(field.name)) for field in fields(Parts)})


def _outside(table: Table) -> OutsideMemory | None:
    if table.mapping.get("outside") is None:
        return None
    outside = table.table("outside")
    return OutsideMemory(**{field.name: _size(outside, field.name) for field in fields(OutsideMemory)})


def _longest(table: Table) -> Longest | None:
    if table.mapping.get("longest") is None:
        return None
    longest = table.table("longest")
    return Longest(quantity=longest.string("quantity"), value=longest.integer("value", minimum=0))


def _phases_to_table(phases: Iterable[PhasePeak]) -> dict[str, object]:
    tables = (asdict(phase) for phase in phases)
    return {table.pop("name"): table for table in tables}


def _phases(table: Table) -> tuple[PhasePeak, ...]:
    return tuple(_phase(name, table.table(name)) for name in table.mapping)


def _phase(name: str, table: Table) -> PhasePeak:
    return PhasePeak(
        name=name,
        peak_allocated_bytes=_size(table, "peak_allocated_bytes"),
        peak_reserved_bytes=_size(table, "peak_reserved_bytes"),
        peak_device_bytes=_size(table, "peak_device_bytes"),
    )


def _step(table: Table) -> StepSample:
    return StepSample(
        host_seconds=table.number("host_seconds"),
        device_seconds=table.number("device_seconds"),
        tokens=table.integer("tokens", default=None, minimum=0),
    )


def _verdict_to_table(verdict: Verdict) -> dict[str, object]:
    limit = list(verdict.limit) if isinstance(verdict.limit, tuple) else verdict.limit
    return {**asdict(verdict), "outcome": verdict.outcome.value, "limit": limit, "causes": list(verdict.causes)}


def _verdict(table: Table) -> Verdict:
    outcome = table.choice("outcome", [outcome.value for outcome in Outcome])
    return Verdict(
        gate=table.string("gate"),
        metric=table.string("metric"),
        outcome=Outcome(outcome) if outcome else Outcome.UNJUDGED,
        observed=table.number("observed", default=None),
        limit=_limit(table),
        unit=table.string("unit"),
        reason=table.string("reason"),
        required=table.boolean("required", default=True),
        causes=table.strings("causes", default=()),
    )


def _limit(table: Table) -> float | tuple[float, float] | None:
    if not isinstance(table.mapping.get("limit"), (list, tuple)):
        return table.number("limit", default=None)
    low, high = table.numbers("limit", count=2)
    return low, high


def _size(table: Table, key: str) -> int:
    return table.integer(key, minimum=0)
