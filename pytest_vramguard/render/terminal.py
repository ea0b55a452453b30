"""The report as plain ASCII text: the table at the end of a run, and the account of one case that did not pass."""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import fields
from statistics import median
from typing import TYPE_CHECKING, Final

from pytest_vramguard.reading import (
    Measurement,
    NotMeasured,
    OutOfMemory,
    OutsideMemory,
    Parts,
    PhasePeak,
    StepSample,
    UsedMemory,
)
from pytest_vramguard.render.work import work_lines
from pytest_vramguard.units import GIB, count_text, exact_text, gib_text, share_text, size_text
from pytest_vramguard.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from pytest_vramguard.report import CaseResult, Report

NAME_WIDTH_FLOOR: Final = 24
"""Characters that the name column keeps in a narrow terminal."""
MOST_LINES: Final = 15
"""Lines of the account of a failure."""

_LEGEND: Final = (
    (
        "peaks in GiB: allocated is live tensors, reserved is what PyTorch's caching allocator held, device is reserved plus "
        "what lies outside the allocator (context, libraries), as nvidia-smi shows it"
    ),
    "share: peak device bytes / usable bytes of the target; fit and band judge the device peak",
)
_EMULATED_LEGEND: Final = (
    "emulated: the real code ran against an emulated card; memory is counted, kernels are not run, so there is no step time"
)
_TIMED_LEGEND: Final = "step: median time between CUDA events around a steady step; tokens/s: tokens / time over the same steps"


def render(report: Report, *, width: int = 100) -> str:
    """Return a table of one row a case, the advice where no band was asked for, and a legend.

    `width` is that of the terminal in characters: names are shortened in the middle and the prose is wrapped to it. A table
    whose other columns leave a name fewer than `NAME_WIDTH_FLOOR` characters is wider than `width`.
    """
    if not report.cases:
        return "no case ran\n"
    timed = any(_steady_steps(case) for case in report.cases)
    advice = [f"{case.id}: {case.advice}" for case in report.cases if case.advice]
    doubts = [
        f"{case.id}: {doubt}"
        for case in report.cases
        if isinstance(case.reading, Measurement)
        for doubt in _doubts(case.reading)
    ]
    prose = [*advice, *doubts, *_unjudged(report.cases), *_LEGEND]
    if any(case.device.kind == "emulated" for case in report.cases):
        prose.append(_EMULATED_LEGEND)
    if timed:
        prose.append(_TIMED_LEGEND)
    wrapped = [textwrap.fill(_one_line(line), width, subsequent_indent="  ", break_on_hyphens=False) for line in prose]
    return _ascii("\n".join([*_table_lines(report.cases, timed=timed, width=width), "", *wrapped]) + "\n")


def failure_text(case: CaseResult) -> str:
    """Return at most 15 lines about a case that did not pass: what each gate found and why, the peaks, their parts and phases.

    Where there is more to say, the parts take one line, then the last causes are left to the report. Only more than four gates
    that did not pass take more lines.
    """
    most = sum(len(verdict.causes) for verdict in case.verdicts)
    forms = (
        _account(case, causes=most, folded=False),
        *(_account(case, causes=kept, folded=True) for kept in range(most, -1, -1)),
    )
    lines = next((form for form in forms if len(form) <= MOST_LINES), forms[-1])
    return _ascii("\n".join(_one_line(line) for line in lines))


def _account(case: CaseResult, *, causes: int, folded: bool) -> list[str]:
    """Return the lines about a case, with at most so many `causes`, and with the parts of its peak `folded` into one."""
    headline = f"{case.outcome.value}: {case.id} on {case.target} ({case.device.kind})"
    snapshot = [f"snapshot for pytorch.org/memory_viz: {case.snapshot}"] if case.snapshot else []
    return [headline, *_verdict_lines(case, causes), *_reading_lines(case, folded=folded), *snapshot]


def _table_lines(cases: Sequence[CaseResult], *, timed: bool, width: int) -> list[str]:
    heads = ["test", "target", "ran on", "allocated", "reserved", "device", "share"]
    heads += ["step", "tokens/s"] if timed else []
    rows = [[*heads, "outcome"], *([*_cells(case, timed=timed), _outcome_text(case)] for case in cases)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    others = sum(widths[1:]) + 2 * len(widths[1:])
    widths[0] = min(widths[0], max(width - others, NAME_WIDTH_FLOOR))
    return [_row_text(row, widths) for row in rows]


def _row_text(row: list[str], widths: list[int]) -> str:
    name, target, device, *numbers, outcome = row
    texts = [_shortened(name, widths[0]).ljust(widths[0]), target.ljust(widths[1]), device.ljust(widths[2])]
    texts += [number.rjust(number_width) for number, number_width in zip(numbers, widths[3:-1], strict=True)]
    return "  ".join([*texts, outcome])


def _cells(case: CaseResult, *, timed: bool) -> list[str]:
    cells = [case.id, case.target, case.device.kind]
    share = case.peak_device_share
    if isinstance(case.reading, NotMeasured) or share is None:
        cells += ["-"] * 4
    else:
        peaks = (case.reading.peak_allocated_bytes, case.reading.peak_reserved_bytes, case.reading.peak_device_bytes)
        cells += [*(f"{peak / GIB:.2f}" for peak in peaks), share_text(share)]
    if timed:
        cells += [_step_text(_steady_steps(case)), _rate_text(_steady_steps(case))]
    return cells


def _outcome_text(case: CaseResult) -> str:
    ended = " (OOM)" if isinstance(case.reading, OutOfMemory) else ""
    return f"{case.outcome.value}{ended}"


def _verdict_lines(case: CaseResult, causes: int) -> list[str]:
    if not case.verdicts:
        return ["no gate was asked; next step: give the marker a max_gb or a band"]
    if isinstance(case.reading, NotMeasured):
        return [f"not judged: {', '.join(verdict.gate for verdict in case.verdicts)}"]
    lines = []
    told: list[str] = []
    for verdict in case.verdicts:
        if verdict.outcome is not Outcome.PASS:
            new = [cause for cause in verdict.causes if cause not in told][: causes - len(told)]
            told += new
            lines += [_comparison_text(verdict), f"  {verdict.reason}", *(f"  {cause}" for cause in new)]
    return lines


def _comparison_text(verdict: Verdict) -> str:
    ends = verdict.limit if isinstance(verdict.limit, tuple) else (verdict.limit,)
    limit = " to ".join(_quantity_text(end, verdict.unit) for end in ends)
    observed = _quantity_text(verdict.observed, verdict.unit)
    return f"{verdict.gate} {verdict.outcome.value}: {verdict.metric}: observed {observed}, limit {limit}"


def _quantity_text(quantity: float | None, unit: str) -> str:
    if quantity is None:
        return "none"
    if unit == "bytes":
        return exact_text(int(quantity))
    return share_text(quantity) if unit == "share" else f"{count_text(quantity)} {unit}"


def _reading_lines(case: CaseResult, *, folded: bool) -> list[str]:
    # Every branch returns, so a reading that is added and forgotten here is mypy's "missing return statement".
    match case.reading:
        case NotMeasured() as reading:
            return [f"not measured: {reading.reason}"]
        case OutOfMemory() as reading:
            return [*_memory_lines(reading, folded=folded), *_notes_lines([*_besides(reading.outside), *reading.notes])]
        case Measurement() as reading:
            notes = [*_doubts(reading), *_besides(reading.outside), *reading.notes]
            steps = _steps_lines(reading, {verdict.gate for verdict in case.verdicts})
            return [*_memory_lines(reading, folded=folded), *steps, *_notes_lines(notes)]


def _memory_lines(reading: UsedMemory, *, folded: bool) -> list[str]:
    peaks = (
        f"peaks: allocated {gib_text(reading.peak_allocated_bytes)}, reserved {gib_text(reading.peak_reserved_bytes)}, "
        f"device {gib_text(reading.peak_device_bytes)} (reserved + {gib_text(reading.context_bytes)} outside the allocator)"
    )
    return [peaks, *_parts_lines(reading.parts, folded=folded), *_phases_lines(reading.phases)]


def _besides(outside: OutsideMemory | None) -> Iterable[str]:
    if outside is not None and outside.managed_bytes:
        yield f"managed memory {gib_text(outside.managed_bytes)}, of which {gib_text(outside.managed_host_bytes)} on the host"
    if outside is not None and outside.pinned_bytes:
        yield f"pinned host memory {gib_text(outside.pinned_bytes)}"


def _parts_lines(parts: Parts, *, folded: bool) -> list[str]:
    head = "parts of the allocated peak:"
    total_bytes = parts.total_bytes or 1
    sizes = {field.name.removesuffix("_bytes"): getattr(parts, field.name) for field in fields(parts)}
    if folded:
        return [f"{head} {', '.join(f'{name} {gib_text(size)}' for name, size in sizes.items())}"]
    rows = (f"  {name:<11}  {gib_text(size):>10}  {share_text(size / total_bytes):>7}" for name, size in sizes.items())
    return [head, *rows]


def _phases_lines(phases: Iterable[PhasePeak]) -> list[str]:
    texts = [f"{phase.name} {gib_text(phase.peak_device_bytes)}" for phase in phases]
    return [f"device peak by phase: {', '.join(texts)}"] if texts else []


def _steps_lines(reading: Measurement, gates: AbstractSet[str]) -> Iterable[str]:
    """Yield what is told of the steps: what the card's sensors said, and what was asked of it, where a gate is about that."""
    yield _steps_line(reading)
    if "slowdown" in gates:
        yield from _sensors_lines(reading)
    yield from _longest_lines(reading)
    if gates & {"work", "work growth"}:
        yield from work_lines(reading.work)


def _steps_line(reading: Measurement) -> str:
    if not reading.steps:
        return f"steps: {reading.step_count} ran, none timed"
    warming = f" ({reading.warming_count} of them still warming up)" if reading.warming_count else ""
    times = f"steps: {reading.step_count} ran, {len(reading.steps)} timed{warming}, median {_step_text(reading.steady_steps)}"
    rate = _rate_text(reading.steady_steps)
    return times if rate == "-" else f"{times}, {rate} tokens/s"


def _longest_lines(reading: Measurement) -> list[str]:
    found = reading.longest
    return [f"largest {found.quantity} that fits: {found.value}, whose peaks these are"] if found else []


def _sensors_lines(reading: Measurement) -> Iterable[str]:
    """Yield what the sensors of the card said during the timed steps, as far as it has any."""
    seen = [step.sensors for step in reading.steps if step.sensors is not None]
    clocks_hz = [sensors.lowest_clock_hz for sensors in seen if sensors.lowest_clock_hz is not None]
    temperatures = [sensors.highest_temperature_celsius for sensors in seen if sensors.highest_temperature_celsius is not None]
    powers_watts = [sensors.highest_power_watts for sensors in seen if sensors.highest_power_watts is not None]
    reasons = dict.fromkeys(reason for sensors in seen for reason in sensors.clock_reasons)
    texts = [
        f"clock {min(clocks_hz) / 1e6:.0f} MHz or more" if clocks_hz else "",
        f"temperature {max(temperatures)} C or less" if temperatures else "",
        f"power {max(powers_watts):.0f} W or less" if powers_watts else "",
        f"clock held back by {', '.join(reasons)}" if reasons else "",
    ]
    if any(texts):
        yield f"card during the timed steps: {'; '.join(filter(None, texts))}"


def _notes_lines(notes: Iterable[str]) -> list[str]:
    text = "; ".join(notes)
    return [f"notes: {text}"] if text else []


def _doubts(reading: Measurement) -> Iterable[str]:
    for reason, count in Counter(step.void_reason for step in reading.void_steps).items():
        yield f"{count} of {len(reading.steps)} timed steps are void: {reason}"
    if reading.allocator_retries:
        yield f"the allocator gave back cached memory {reading.allocator_retries} times to go on"
    if reading.out_of_memory_count:
        yield f"the code caught {reading.out_of_memory_count} out-of-memory errors and went on"
    if reading.leftover_bytes:
        yield f"{size_text(reading.leftover_bytes)} left behind by {reading.leftover_from or 'earlier tests'} are not counted"


def _unjudged(cases: Iterable[CaseResult]) -> list[str]:
    """Return what a gate could not judge without making the test fail, so that it is seen all the same."""
    return [
        f"{case.id}: {verdict.gate} UNJUDGED: {verdict.reason}"
        for case in cases
        for verdict in case.verdicts
        if verdict.outcome is Outcome.UNJUDGED and not verdict.is_red
    ]


def _steady_steps(case: CaseResult) -> tuple[StepSample, ...]:
    return case.reading.steady_steps if isinstance(case.reading, Measurement) else ()


def _step_text(steps: Iterable[StepSample]) -> str:
    seconds = [step.device_seconds for step in steps]
    return f"{median(seconds) * 1000:.1f} ms" if seconds else "-"


def _rate_text(steps: Iterable[StepSample]) -> str:
    counted = [step for step in steps if step.tokens is not None]
    seconds = sum(step.device_seconds for step in counted)
    return f"{sum(step.tokens or 0 for step in counted) / seconds:.0f}" if seconds else "-"


def _shortened(name: str, width: int) -> str:
    if len(name) <= width:
        return name
    # The end names the test and its target, so it keeps two thirds.
    head = (width - len("...")) // 3
    tail = width - len("...") - head
    return f"{name[:head]}...{name[-tail:]}"


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii")
