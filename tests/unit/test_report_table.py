"""The plain form of a report: its shape, the way back, and what the reader refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    Work,
)
from pytest_vramguard.report import CaseResult, DeviceFacts, Report
from pytest_vramguard.report_table import (
    ReportError,
    case_from_table,
    case_to_table,
    report_from_table,
    report_to_table,
)
from pytest_vramguard.verdict import Outcome, Verdict
from tests import samples

_TEXTS = st.text(min_size=1)
_COUNTS = st.integers(0, 2**63)
_NUMBERS = st.one_of(_COUNTS, st.floats(allow_nan=False, allow_infinity=False))
_PARTS = st.builds(Parts, **dict.fromkeys(Parts.__dataclass_fields__, _COUNTS))
_PHASES = st.lists(
    st.builds(PhasePeak, name=_TEXTS, peak_allocated_bytes=_COUNTS, peak_reserved_bytes=_COUNTS, peak_device_bytes=_COUNTS),
    max_size=3,
    unique_by=lambda phase: phase.name,
).map(tuple)
_OUTSIDE = st.none() | st.builds(OutsideMemory, managed_bytes=_COUNTS, managed_host_bytes=_COUNTS, pinned_bytes=_COUNTS)
_SITE = st.builds(SiteBytes, site=st.builds(Site, **dict.fromkeys(Site.__dataclass_fields__, st.text())), size_bytes=_COUNTS)
_SITES = st.lists(_SITE, max_size=2).map(tuple)
_ORIGINS = st.builds(
    Origins,
    adapters_bytes=_COUNTS,
    logits_bytes=_COUNTS,
    workspace_bytes=_COUNTS,
    modules=st.dictionaries(_TEXTS, _COUNTS, max_size=2).map(lambda modules: tuple(modules.items())),
    sites=_SITES,
    other_sites_bytes=_COUNTS,
    survivors=_SITES,
)
_SYNCS = st.lists(
    st.builds(SyncSite, place=_TEXTS, code=st.none() | _TEXTS, via=st.none() | _TEXTS, count=st.integers(1, 2**63)), max_size=2
).map(tuple)
_COUNTED = (name for name in Work.__dataclass_fields__ if name != "syncs")
_WORK = st.none() | st.builds(Work, syncs=_SYNCS, **dict.fromkeys(_COUNTED, _COUNTS))
_NOTES = st.lists(_TEXTS, max_size=2).map(tuple)
_STEPS = st.lists(
    st.builds(
        StepSample,
        host_seconds=st.floats(0, 1e9),
        device_seconds=st.floats(0, 1e9),
        tokens=st.none() | _COUNTS,
        sensors=st.sampled_from((None, StepSensors(), samples.sensors())),
    ),
    max_size=3,
).map(tuple)
_MEMORY: dict[str, Any] = {
    "peak_allocated_bytes": _COUNTS,
    "peak_reserved_bytes": _COUNTS,
    "context_bytes": _COUNTS,
    "parts": _PARTS,
    "outside": _OUTSIDE,
    "phases": _PHASES,
    "origins": st.none() | _ORIGINS,
    "notes": _NOTES,
}
_READINGS = st.one_of(
    st.builds(NotMeasured, reason=_TEXTS),
    st.builds(
        OutOfMemory,
        message=_TEXTS,
        phase=_TEXTS,
        phases_around=_NOTES,
        refused=st.none() | _SITE,
        **_MEMORY,
    ),
    st.builds(
        Measurement,
        work=_WORK,
        steps=_STEPS,
        step_count=_COUNTS,
        allocator_retries=_COUNTS,
        leftover_bytes=_COUNTS,
        longest=st.none() | st.builds(Longest, quantity=_TEXTS, value=_COUNTS),
        **_MEMORY,
    ),
)
_VERDICTS = st.builds(
    Verdict,
    gate=_TEXTS,
    metric=_TEXTS,
    outcome=st.sampled_from(Outcome),
    observed=st.none() | _NUMBERS,
    limit=st.none() | _NUMBERS | st.tuples(_NUMBERS, _NUMBERS),
    unit=_TEXTS,
    reason=_TEXTS,
)
_DEVICES = st.builds(
    DeviceFacts,
    kind=_TEXTS,
    name=_TEXTS,
    usable_bytes=_COUNTS,
    compute_capability=_TEXTS,
    driver=_TEXTS,
    versions=st.dictionaries(_TEXTS, _TEXTS, max_size=3).map(lambda versions: tuple(versions.items())),
)
_CASES = st.builds(
    CaseResult,
    id=_TEXTS,
    target=_TEXTS,
    target_usable_bytes=st.integers(1, 2**63),
    device=_DEVICES,
    reading=_READINGS,
    verdicts=st.lists(_VERDICTS, max_size=2).map(tuple),
    advice=st.none() | _TEXTS,
    snapshot=st.none() | _TEXTS,
    limits=st.sampled_from(((), (("max_growth", "allocated=1%"), ("max_slowdown", "5%")))),
)


@given(case=_CASES)
def test_case_comes_back_equal(case: CaseResult) -> None:
    """Any case survives the way through JSON unchanged."""
    assert case == case_from_table(json.loads(json.dumps(case_to_table(case))))


def test_report_comes_back_equal() -> None:
    """A report of one case of each kind survives the way through JSON unchanged."""
    report = samples.mixed_report()

    assert report == report_from_table(json.loads(json.dumps(report_to_table(report))))


def test_empty_report_comes_back_equal() -> None:
    """A report without cases is a report."""
    report = Report(tool="pytest-vramguard 0.1.0", cases=())

    assert report == report_from_table(report_to_table(report))


def test_shape_of_a_measurement() -> None:
    """Parts have short keys, phases go by name, and step seconds are those of the device."""
    reading: Any = case_to_table(samples.case(reading=samples.measurement(steps=(samples.step(0.25),))))["reading"]

    assert ("measurement", 5_637_144_576, [0.25]) == (reading["kind"], reading["peak_device_bytes"], reading["step_seconds"])
    assert ["weights", "gradients", "optimizer", "activations", "other"] == list(reading["parts"])
    assert ["load", "first step", "steady"] == list(reading["phases"])


def test_shape_of_origins() -> None:
    """Sites say what is known of them and their bytes, and modules go by path; shares have short keys."""
    reading: Any = case_to_table(samples.case(reading=samples.measurement(origins=samples.origins())))["reading"]

    assert {"module": "lm_head", "bytes": 33_554_432} == reading["origins"]["sites"][-1]
    assert {"model.layers.*.mlp": 419_430_400, "lm_head": 150_994_944} == reading["origins"]["modules"]
    assert ["adapters", "logits", "workspace"] == list(reading["origins"])[:3]


def test_unknown_keys_are_passed_over() -> None:
    """A key of the same schema that this version does not know does not hinder the reading."""
    table = report_to_table(samples.report()) | {"host": "a later addition"}

    assert samples.report() == report_from_table(table)


def test_newer_schema_is_refused() -> None:
    """A report of a newer schema is refused as a whole, with the way out."""
    table = report_to_table(samples.report()) | {"schema": 2}

    with pytest.raises(ReportError) as caught:
        report_from_table(table, "vram-report.json")

    assert "vram-report.json: schema: got 2, expected at most 1; next step: upgrade pytest-vramguard" == str(caught.value)


def test_cut_off_report_is_refused() -> None:
    """A report that lacks its end is refused with what is missing."""
    with pytest.raises(ReportError) as caught:
        report_from_table({"schema": 1, "tool": "pytest-vramguard 0.1.0"}, "vram-report.json")

    assert "vram-report.json: cases: missing, expected a list of tables" == str(caught.value)


def test_all_faults_are_raised_together() -> None:
    """Every fault of a report is placed, and all of them are raised at once."""
    table: Any = report_to_table(samples.report())
    table["cases"][0]["reading"]["peak_reserved_bytes"] = -1
    table["cases"][0]["reading"]["phases"]["first step"]["peak_device_bytes"] = 1.5
    table["cases"][0]["verdicts"][0] |= {"outcome": "MAYBE", "limit": [0.7]}

    with pytest.raises(ReportError) as caught:
        report_from_table(table, "r.json")

    assert [
        "r.json: cases[0].reading.peak_reserved_bytes: got -1 (int), expected an integer of at least 0",
        "r.json: cases[0].reading.phases.'first step'.peak_device_bytes: got 1.5 (float), expected an integer of at least 0",
        "r.json: cases[0].verdicts[0].outcome: got 'MAYBE' (str), expected one of 'PASS', 'FAIL', 'UNJUDGED'",
        "r.json: cases[0].verdicts[0].limit: got [0.7] (list), expected a list of 2 numbers",
    ] == str(caught.value).splitlines()


def test_faulty_case_is_refused() -> None:
    """A case on its own is checked like one in a report."""
    table = case_to_table(samples.case()) | {"target_usable_bytes": 0}

    with pytest.raises(ReportError) as caught:
        case_from_table(table)

    assert "case: target_usable_bytes: got 0 (int), expected an integer of at least 1" == str(caught.value)
