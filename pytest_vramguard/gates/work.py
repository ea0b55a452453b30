"""The work gates: does a steady step ask more of the card than it may, or than it did when somebody accepted it.

What is counted stands in for time where there is no card: launches, waits of the host, copied bytes, allocations that reach the
driver, floating-point operations. Each is compared as what it is; none of them is a time, and no sum of them is.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, Final

from pytest_vramguard.baseline import not_comparable
from pytest_vramguard.gates.growth import NoBaseline, Reference
from pytest_vramguard.gates.work_cause import explain_growth, explain_limit
from pytest_vramguard.reading import Measurement, NotMeasured, OutOfMemory, Reading, WorkName
from pytest_vramguard.units import count_text, share_text
from pytest_vramguard.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pytest_vramguard.allowance import Allowance
    from pytest_vramguard.baseline import Baseline, Environment
    from pytest_vramguard.cards.catalogue import Card
    from pytest_vramguard.reading import Work

UNITS: Final[dict[WorkName, str]] = {
    "launches": "launches",
    "syncs": "syncs",
    "copied": "bytes",
    "driver_allocations": "driver allocations",
    "flops": "FLOP",
}
NOT_COUNTED: Final = "nobody counts the work of a real card; judge it on an emulated one: --vram-device emulated"
NO_STEP: Final = (
    "got no step after the first, expected at least one; put vram.step around each, or train a recipe for two steps"
)
NOT_IN_BASELINE: Final = "the baseline has no counted step; next step: accept one with pytest --vram-accept"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkGate:
    """Fails when a figure of a steady step, the average of all of them, is larger than `most`; equal passes."""

    name: ClassVar[str] = "work"

    figure: WorkName
    most: int
    """What a step may have of it, 0 upwards."""

    def judge(self, reading: Reading, card: Card) -> Verdict:  # noqa: ARG002 (the limit is a number of its own)
        """Decide whether the figure is within the limit.

        `OutOfMemory` fails. `NotMeasured` and no step after the first give UNJUDGED with the reason; so does a real card, where
        nothing is counted, but without failing the test. Never raises.
        """
        work = _counted(self, reading)
        if isinstance(work, Verdict):
            return work
        observed = work.a_step[self.figure]
        passes = observed <= self.most
        return _verdict(
            self,
            Outcome.PASS if passes else Outcome.FAIL,
            observed=observed,
            limit=Fraction(self.most),
            reason=f"{count_text(observed)} a step, in {work.step_count} steady steps; max_{self.figure} allows {self.most}",
            causes=() if passes else explain_limit(self.figure, work),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkGrowthGate:
    """Fails when a figure of a steady step is larger than its baseline by more than is allowed; equal to the limit passes."""

    name: ClassVar[str] = "work growth"

    figure: WorkName
    allowance: Allowance
    reference: Reference
    baseline_required: bool
    """Whether a baseline of a time when work was not counted fails the test, as a missing one does."""
    environment: Environment
    """That of the case that is judged."""

    def judge(self, reading: Reading, card: Card) -> Verdict:  # noqa: ARG002 (the baseline is the measure, not the card)
        """Decide whether the figure grew too much.

        As `WorkGate.judge`; no baseline, and one of another device or GPU, give UNJUDGED with the reason.
        """
        work = _counted(self, reading)
        if isinstance(work, Verdict):
            return work
        observed = work.a_step[self.figure]
        if isinstance(self.reference, NoBaseline):
            reason, required = self.reference.reason, self.reference.required
            return _verdict(self, Outcome.UNJUDGED, observed=observed, reason=reason, required=required)
        apart = not_comparable(self.reference, self.environment)
        if apart is not None:
            return _verdict(self, Outcome.UNJUDGED, observed=observed, reason=apart)
        before = self.reference.measurement.work
        if before is None or before.step_count == 0:
            required = self.baseline_required
            return _verdict(self, Outcome.UNJUDGED, observed=observed, reason=NOT_IN_BASELINE, required=required)
        return _compare(self, self.reference, before, work)


def _compare(gate: WorkGrowthGate, baseline: Baseline, before: Work, now: Work) -> Verdict:
    observed, accepted = now.a_step[gate.figure], before.a_step[gate.figure]
    limit = accepted + gate.allowance.of(accepted)
    passes = observed <= limit
    return _verdict(
        gate,
        Outcome.PASS if passes else Outcome.FAIL,
        observed=observed,
        limit=limit,
        reason=_reason(observed, accepted, gate.allowance),
        causes=() if passes else explain_growth(gate.figure, before, now, (baseline.environment, gate.environment)),
    )


def _reason(observed: Fraction, accepted: Fraction, allowance: Allowance) -> str:
    gap = abs(observed - accepted)
    if gap == 0:
        return f"{count_text(observed)} a step is exactly the baseline"
    share = f" ({share_text(float(gap / accepted))})" if accepted else ""
    side = "over" if observed > accepted else "under"
    difference = f"{count_text(gap)}{share} {side} the {count_text(accepted)} of the baseline"
    return f"{count_text(observed)} a step is {difference}; {allowance.text} allows {count_text(allowance.of(accepted))}"


def _counted(gate: WorkGate | WorkGrowthGate, reading: Reading) -> Work | Verdict:
    """Return the work of at least one step, or what is to be said where there is none."""
    # Every branch returns, so a reading that is added and forgotten here is mypy's "missing return statement".
    match reading:
        case NotMeasured():
            return _verdict(gate, Outcome.UNJUDGED, reason=reading.reason)
        case OutOfMemory():
            return _verdict(gate, Outcome.FAIL, reason=f"out of memory in phase {reading.phase!r}: no steady step was counted")
        case Measurement():
            if reading.work is None:
                return _verdict(gate, Outcome.UNJUDGED, reason=NOT_COUNTED, required=False)
            return reading.work if reading.work.step_count else _verdict(gate, Outcome.UNJUDGED, reason=NO_STEP)


def _verdict(  # noqa: PLR0913 (the fields of a verdict)
    gate: WorkGate | WorkGrowthGate,
    outcome: Outcome,
    *,
    reason: str,
    observed: Fraction | None = None,
    limit: Fraction | None = None,
    required: bool = True,
    causes: tuple[str, ...] = (),
) -> Verdict:
    return Verdict(
        gate=gate.name,
        metric=f"{gate.figure.replace('_', ' ')} a steady step",
        outcome=outcome,
        observed=None if observed is None else float(observed),
        limit=None if limit is None else float(limit),
        unit=UNITS[gate.figure],
        reason=reason,
        required=required,
        causes=causes,
    )
