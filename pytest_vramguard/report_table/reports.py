"""Reports and their cases as plain dicts, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from pytest_vramguard.report import CaseResult, DeviceFacts, Report
from pytest_vramguard.report_table.readings import ReportError, reading_in, reading_to_table
from pytest_vramguard.tables import checking
from pytest_vramguard.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_vramguard.tables import Table

SCHEMA: Final = 1
"""Version of the form; a reader refuses newer ones. 1: the first."""


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
        "limits": dict(case.limits),
        "snapshot": case.snapshot,
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
        reading=reading_in(table.table("reading")),
        verdicts=tuple(map(_verdict, table.tables("verdicts"))),
        advice=table.string("advice", default=None),
        conditions=_pairs(table.table("conditions", required=False)),
        limits=_pairs(table.table("limits", required=False)),
        snapshot=table.string("snapshot", default=None),
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
