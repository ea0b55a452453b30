"""Readings as plain dicts, and back."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from pytest_vramguard.errors import VramguardError
from pytest_vramguard.reading import (
    Longest,
    Measurement,
    NotMeasured,
    Origins,
    OutOfMemory,
    OutsideMemory,
    Parts,
    PhasePeak,
    Site,
    SiteBytes,
    StepSample,
    StepSensors,
    SyncSite,
    UsedMemory,
    Work,
)
from pytest_vramguard.tables import checking

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_vramguard.reading import Reading
    from pytest_vramguard.tables import Table


class ReportError(VramguardError):
    """A stored report is newer than this version can read, or malformed."""

    slug = "report"


def reading_to_table(reading: Reading) -> dict[str, object]:
    """Return `reading` in builtins; `kind` says which it is."""
    # Every branch returns, so a reading that is added and forgotten here is mypy's "missing return statement".
    match reading:
        case NotMeasured():
            return {"kind": "not_measured", "reason": reading.reason}
        case OutOfMemory():
            memory = _memory_to_table(reading)
            ended = {"message": reading.message, "phase": reading.phase, "phases_around": list(reading.phases_around)}
            refused = None if reading.refused is None else _site_to_table(reading.refused)
            return {"kind": "out_of_memory", **memory, **ended, "refused": refused}
        case Measurement():
            return {
                "kind": "measurement",
                **_memory_to_table(reading),
                "work": None if reading.work is None else _work_to_table(reading.work),
                "step_seconds": [step.device_seconds for step in reading.steps],
                "steps": [_step_to_table(step) for step in reading.steps],
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
        return reading_in(root)


def reading_in(table: Table) -> Reading:
    """Return the reading in `table`, of whatever kind; faults are noted there."""
    kind = table.choice("kind", ("measurement", "out_of_memory", "not_measured"))
    if kind == "measurement":
        return measurement_in(table)
    if kind == "out_of_memory":
        return _out_of_memory(table)
    return NotMeasured(reason=table.string("reason"))


def measurement_in(table: Table) -> Measurement:
    """Return the measurement in `table`, whose faults are noted there."""
    return Measurement(
        **_memory(table),
        work=_work(table),
        steps=tuple(map(_step, table.tables("steps"))),
        step_count=table.integer("step_count", minimum=0),
        after_step_bytes=table.integers("after_step_bytes", default=()),
        allocator_retries=table.integer("allocator_retries", minimum=0),
        out_of_memory_count=table.integer("out_of_memory_count", minimum=0),
        leftover_from=table.string("leftover_from", default=None),
        leftover_bytes=_size(table, "leftover_bytes"),
        longest=_longest(table),
    )


def _out_of_memory(table: Table) -> OutOfMemory:
    return OutOfMemory(
        message=table.string("message"),
        phase=table.string("phase"),
        phases_around=table.strings("phases_around", default=()),
        refused=None if table.mapping.get("refused") is None else _site(table.table("refused")),
        **_memory(table),
    )


def _memory_to_table(reading: UsedMemory) -> dict[str, object]:
    return {
        "peak_allocated_bytes": reading.peak_allocated_bytes,
        "peak_reserved_bytes": reading.peak_reserved_bytes,
        "peak_device_bytes": reading.peak_device_bytes,
        "context_bytes": reading.context_bytes,
        "parts": {_part_name(field.name): getattr(reading.parts, field.name) for field in fields(Parts)},
        "outside": None if reading.outside is None else asdict(reading.outside),
        "phases": _phases_to_table(reading.phases),
        "origins": None if reading.origins is None else _origins_to_table(reading.origins),
        "notes": list(reading.notes),
    }


def _memory(table: Table) -> dict[str, Any]:
    """Return what every reading with numbers has, by the name of its field."""
    return {
        "peak_allocated_bytes": _size(table, "peak_allocated_bytes"),
        "peak_reserved_bytes": _size(table, "peak_reserved_bytes"),
        "context_bytes": _size(table, "context_bytes"),
        "parts": _parts(table.table("parts")),
        "outside": _outside(table),
        "phases": _phases(table.table("phases")),
        "origins": None if table.mapping.get("origins") is None else _origins(table.table("origins")),
        "notes": table.strings("notes"),
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


def _work_to_table(work: Work) -> dict[str, object]:
    return {**asdict(work), "syncs": [asdict(site) for site in work.syncs]}


def _work(table: Table) -> Work | None:
    if table.mapping.get("work") is None:
        return None
    work = table.table("work")
    counted = (field.name for field in fields(Work) if field.name != "syncs")
    return Work(syncs=tuple(map(_sync, work.tables("syncs"))), **{name: work.integer(name, minimum=0) for name in counted})


def _sync(table: Table) -> SyncSite:
    return SyncSite(
        place=table.string("place"),
        code=table.string("code", default=None),
        via=table.string("via", default=None),
        count=table.integer("count", minimum=1),
    )


def _longest(table: Table) -> Longest | None:
    if table.mapping.get("longest") is None:
        return None
    longest = table.table("longest")
    return Longest(quantity=longest.string("quantity"), value=longest.integer("value", minimum=0))


def _origins_to_table(origins: Origins) -> dict[str, object]:
    return {
        "adapters": origins.adapters_bytes,
        "logits": origins.logits_bytes,
        "workspace": origins.workspace_bytes,
        "modules": dict(origins.modules),
        "sites": list(map(_site_to_table, origins.sites)),
        "other_sites": origins.other_sites_bytes,
        "survivors": list(map(_site_to_table, origins.survivors)),
    }


def _origins(table: Table) -> Origins:
    modules = table.table("modules")
    return Origins(
        adapters_bytes=_size(table, "adapters"),
        logits_bytes=_size(table, "logits"),
        workspace_bytes=_size(table, "workspace"),
        modules=tuple((name, _size(modules, name)) for name in modules.mapping),
        sites=tuple(map(_site, table.tables("sites"))),
        other_sites_bytes=_size(table, "other_sites"),
        survivors=tuple(map(_site, table.tables("survivors"))),
    )


def _site_to_table(held: SiteBytes) -> dict[str, object]:
    """Return the site's fields that are not empty, and its bytes."""
    return {**{key: text for key, text in asdict(held.site).items() if text}, "bytes": held.size_bytes}


def _site(table: Table) -> SiteBytes:
    texts = {field.name: table.string(field.name, default="") for field in fields(Site)}
    return SiteBytes(site=Site(**texts), size_bytes=_size(table, "bytes"))


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


def _step_to_table(step: StepSample) -> dict[str, object]:
    sensors = None if step.sensors is None else {**asdict(step.sensors), "clock_reasons": list(step.sensors.clock_reasons)}
    return {**asdict(step), "sensors": sensors, "void_reason": step.void_reason}


def _step(table: Table) -> StepSample:
    return StepSample(
        host_seconds=table.number("host_seconds"),
        device_seconds=table.number("device_seconds"),
        tokens=table.integer("tokens", default=None, minimum=0),
        sensors=_sensors(table),
    )


def _sensors(table: Table) -> StepSensors | None:
    if table.mapping.get("sensors") is None:
        return None
    sensors = table.table("sensors")
    return StepSensors(
        lowest_clock_hz=sensors.integer("lowest_clock_hz", default=None, minimum=0),
        highest_temperature_celsius=sensors.integer("highest_temperature_celsius", default=None),
        highest_power_watts=sensors.number("highest_power_watts", default=None),
        clock_reasons=sensors.strings("clock_reasons"),
        other_process_count=sensors.integer("other_process_count", default=None, minimum=0),
    )


def _size(table: Table, key: str) -> int:
    return table.integer(key, minimum=0)
