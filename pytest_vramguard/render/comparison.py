"""Two commits side by side as plain ASCII text: a row a case, and an account of each that is red."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pytest_vramguard.reading import NotMeasured, OutOfMemory
from pytest_vramguard.render.terminal import failure_text
from pytest_vramguard.units import GIB
from pytest_vramguard.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_vramguard.report import CaseResult
    from pytest_vramguard.side_by_side import ComparedCase, ComparedCommits
    from pytest_vramguard.verdict import Verdict

HEADS: Final = ("test", "target", "ran on", "before", "now", "growth in bytes", "slower", "outcomes")
LEGEND: Final = "before, now: peak allocated in GiB; slower: step time, as the rounds in turn show it"


def render(compared: ComparedCommits, before: str, now: str) -> str:
    """Return what was found between the commits `before` and `now`: accounts of what is red, the table, what was not judged."""
    red = [case.now for case in compared.cases if case.now.is_red]
    rows = [HEADS, *map(_row, compared.cases)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    rounds = "1 round" if compared.round_count == 1 else f"{compared.round_count} rounds in turn"
    lines = [
        *(f"{failure_text(case)}\n" for case in red),
        f"{before} -> {now}, {rounds}",
        *(_row_text(row, widths) for row in rows),
        "",
        *_open_lines(case.now for case in compared.cases),
        *(f"{case}: only in {before}" for case in compared.only_before),
        *(f"{case}: only in {now}, not compared" for case in compared.only_now),
        LEGEND,
    ]
    return ("\n".join(lines) + "\n").encode("ascii", "backslashreplace").decode("ascii")


def _row(case: ComparedCase) -> tuple[str, ...]:
    peaks_bytes = [_peak_bytes(case.before), _peak_bytes(case.now)]
    before_bytes, now_bytes = peaks_bytes
    growth = "-" if before_bytes is None or now_bytes is None else f"{now_bytes - before_bytes:+d}"
    sizes = ["-" if size_bytes is None else f"{size_bytes / GIB:.2f}" for size_bytes in peaks_bytes]
    slower = next((_slower_text(verdict) for verdict in case.now.verdicts if verdict.gate == "slowdown"), "-")
    return (case.now.id, case.now.target, case.now.device.kind, *sizes, growth, slower, _outcomes_text(case.now))


def _outcomes_text(case: CaseResult) -> str:
    return ", ".join(f"{verdict.gate} {verdict.outcome.value}" for verdict in case.verdicts)


def _peak_bytes(case: CaseResult) -> int | None:
    return None if isinstance(case.reading, (NotMeasured, OutOfMemory)) else case.reading.peak_allocated_bytes


def _slower_text(verdict: Verdict) -> str:
    return "-" if verdict.observed is None else f"{verdict.observed * 100:+.1f} %"


def _row_text(row: tuple[str, ...], widths: list[int]) -> str:
    *cells, outcomes = row
    texts = [
        cell.ljust(width) if column < 3 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=False))
    ]
    return "  ".join([*texts, outcomes])


def _open_lines(cases: Iterable[CaseResult]) -> list[str]:
    """Return what could not be judged without being a fault, once for all cases that share the reason."""
    open_cases: dict[str, list[str]] = {}
    for case in cases:
        for verdict in case.verdicts:
            if verdict.outcome is Outcome.UNJUDGED and not verdict.is_red:
                open_cases.setdefault(f"{verdict.gate} UNJUDGED: {verdict.reason}", []).append(case.id)
    return [f"{', '.join(ids)}: {reason}" for reason, ids in open_cases.items()]
