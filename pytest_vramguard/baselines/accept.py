"""Which cases may become baselines, and making them so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pytest_vramguard.baseline import Acceptance, Baseline
from pytest_vramguard.reading import Measurement, NotMeasured, OutOfMemory
from pytest_vramguard.units import size_text
from pytest_vramguard.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_vramguard.baselines.store import BaselineStore
    from pytest_vramguard.report import CaseResult

COMPARING: Final = ("growth", "shrink", "work growth", "slowdown")
"""Gates whose verdict does not matter here: they compare with the baseline that is to be replaced."""


def accept(cases: Iterable[CaseResult], store: BaselineStore, *, tool: str) -> tuple[Acceptance, ...]:
    """Make a baseline of each of `cases` that may be one; `tool` is what measured them.

    Every former baseline is read before the first is replaced, and an equal one is left as it is.

    Raises:
        BaselineError: a former baseline is faulty, in which case none is replaced, or one cannot be written.
    """
    decided = [_decided(case, store, tool) for case in cases]
    for acceptance in decided:
        if acceptance.baseline is not None and acceptance.baseline != acceptance.former:
            store.put(acceptance.baseline)
    return tuple(decided)


def _decided(case: CaseResult, store: BaselineStore, tool: str) -> Acceptance:
    why_not = refusal(case)
    if why_not is not None or not isinstance(case.reading, Measurement):
        return Acceptance(case=case.id, target=case.target, refusal=why_not)
    former = store.find(case.id, case.target, case.device.kind)
    measured = Baseline(case=case.id, target=case.target, environment=case.environment, measurement=case.reading, tool=tool)
    return Acceptance(case=case.id, target=case.target, baseline=measured, former=former)


def refusal(case: CaseResult) -> str | None:
    """Return why `case` may not become a baseline; None if it may.

    Only a measurement that passed every gate of its own may, with nothing in it that another run would not repeat.
    """
    reading = case.reading
    # Every branch returns, so a reading that is added and forgotten here is mypy's "missing return statement".
    match reading:
        case NotMeasured():
            return f"not measured: {reading.reason}"
        case OutOfMemory():
            return f"out of memory in phase {reading.phase!r}"
        case Measurement():
            return _gate_refusal(case) or _doubt(reading)


def _gate_refusal(case: CaseResult) -> str | None:
    own = [verdict for verdict in case.verdicts if verdict.gate not in COMPARING]
    if not own:
        return "no gate judged it"
    for verdict in own:
        if verdict.outcome is not Outcome.PASS:
            return f"{verdict.gate} {verdict.outcome.value}: {verdict.reason}"
    return None


def _doubt(measured: Measurement) -> str | None:
    if measured.leftover_bytes:
        culprit = measured.leftover_from or "earlier tests"
        return f"{size_text(measured.leftover_bytes)} left behind by {culprit}; free it there, or run this test alone"
    if measured.allocator_retries:
        return f"the allocator gave back cached memory {measured.allocator_retries} times to go on; leave more room"
    if measured.out_of_memory_count:
        return f"the code caught {measured.out_of_memory_count} out-of-memory errors and went on; leave more room"
    return None
