"""Baselines as plain ASCII text: what was accepted, what is there, and how a report differs from it."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from pytest_vramguard.gates.cause import explain
from pytest_vramguard.reading import Measurement, Parts
from pytest_vramguard.render.work import work_lines
from pytest_vramguard.units import exact_text, gib_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_vramguard.baseline import Acceptance, Baseline, Comparison
    from pytest_vramguard.reading import UsedMemory, Work


def render_accepted(acceptances: Iterable[Acceptance]) -> str:
    """Return one line for each case, and what changed below those that replaced another baseline."""
    return _text(line for acceptance in acceptances for line in _acceptance_lines(acceptance))


def render_list(baselines: Iterable[Baseline]) -> str:
    """Return one line for each baseline."""
    return _text(f"{_name(baseline)}: {_peaks_text(baseline.measurement)}" for baseline in baselines)


def render_whole(baselines: Iterable[Baseline]) -> str:
    """Return everything that a reader wants to know of each baseline."""
    return _text(line for baseline in baselines for line in _whole_lines(baseline))


def render_difference(comparison: Comparison) -> str:
    """Return how a measurement differs from its baseline: the peaks, and what lies behind."""
    return _text([_name(comparison.baseline), *_difference_lines(comparison)])


def _acceptance_lines(acceptance: Acceptance) -> Iterable[str]:
    if acceptance.baseline is None:
        yield f"baseline refused: {acceptance.case} on {acceptance.target}: {acceptance.refusal}"
    elif acceptance.comparison is None:
        yield f"baseline new: {_name(acceptance.baseline)}: {_peaks_text(acceptance.baseline.measurement)}"
    elif acceptance.baseline == acceptance.former:
        yield f"baseline unchanged: {_name(acceptance.baseline)}"
    else:
        yield f"baseline replaced: {_name(acceptance.baseline)}"
        yield from _difference_lines(acceptance.comparison)


def _difference_lines(comparison: Comparison) -> Iterable[str]:
    yield f"  was: {_peaks_text(comparison.baseline.measurement)}"
    yield f"  is:  {_peaks_text(comparison.measurement)}"
    yield from (f"  {line}" for line in explain(comparison))
    if isinstance(comparison.measurement, Measurement):
        yield from _work_difference(comparison.baseline.measurement.work, comparison.measurement.work)


def _work_difference(before: Work | None, now: Work | None) -> Iterable[str]:
    """Yield the figures of a step before and now, where they were counted and differ."""
    if before != now:
        yield from (f"  was: {line.strip()}" for line in work_lines(before))
        yield from (f"  is:  {line.strip()}" for line in work_lines(now))


def _whole_lines(baseline: Baseline) -> Iterable[str]:
    measured = baseline.measurement
    yield _name(baseline)
    yield f"  peak allocated {exact_text(measured.peak_allocated_bytes)}"
    yield f"  peak reserved {exact_text(measured.peak_reserved_bytes)}"
    yield f"  peak device {exact_text(measured.peak_device_bytes)}"
    for field in fields(Parts):
        yield f"  {field.name.removesuffix('_bytes')} {exact_text(getattr(measured.parts, field.name))}"
    for phase in measured.phases:
        yield f"  allocated peak of phase {phase.name!r} {exact_text(phase.peak_allocated_bytes)}"
    yield from (f"  {line}" for line in work_lines(measured.work))
    for key, value in baseline.environment:
        yield f"  {key} {value}"
    yield f"  measured by {baseline.tool}"


def _name(baseline: Baseline) -> str:
    return f"{baseline.case} on {baseline.target} ({baseline.device})"


def _peaks_text(measured: UsedMemory) -> str:
    return (
        f"peaks: allocated {exact_text(measured.peak_allocated_bytes)}, reserved {gib_text(measured.peak_reserved_bytes)}, "
        f"device {gib_text(measured.peak_device_bytes)}"
    )


def _text(lines: Iterable[str]) -> str:
    shown = "\n".join(" ".join(line.splitlines()) for line in lines)
    return f"{shown}\n".encode("ascii", "backslashreplace").decode("ascii") if shown else ""
