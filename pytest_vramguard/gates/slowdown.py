"""The slowdown gate: does a step take longer than it did.

Step times do not repeat as memory does: published repeats are 0.3 % apart within a job and 26 % between jobs. So an interval is
judged and not a number, and only runs in turn on the same device, as `vramguard compare` makes them, can tell a few percent. A
baseline is of another job: what jobs differ by is added to its interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

from pytest_vramguard.baseline import Baseline, Environment, changed_keys, not_comparable
from pytest_vramguard.gates.growth import NoBaseline
from pytest_vramguard.reading import Measurement, NotMeasured, OutOfMemory, Reading
from pytest_vramguard.statistics import (
    CONFIDENCE,
    FEWEST_PAIRS,
    FEWEST_SAMPLES,
    RatioInterval,
    intervals_can_be_had,
    ratio_of_pairs,
    ratio_of_samples,
)
from pytest_vramguard.units import share_text
from pytest_vramguard.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pytest_vramguard.cards.catalogue import Card

EMULATED: Final = NoBaseline(
    reason="there is no step time on an emulated card; it is judged where the test runs on a GPU", required=False
)
"""What a slowdown gate has to compare on an emulated card. That alone fails no test, and is listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedRuns:
    """Runs of the former code and of that of now, in turn, on the same device, in the same job."""

    rounds: tuple[tuple[Measurement, Measurement], ...]
    """The former code and that of now in each round."""

    @property
    def seconds(self) -> tuple[tuple[float, float], ...]:
        """The median steady step of both in each round that has one of both."""
        steady = [(before.steady_steps, now.steady_steps) for before, now in self.rounds]
        return tuple(
            (median(step.device_seconds for step in before), median(step.device_seconds for step in now))
            for before, now in steady
            if before and now
        )


Former: TypeAlias = "Baseline | PairedRuns | NoBaseline"


@dataclass(frozen=True, kw_only=True, slots=True)
class SlowdownGate:
    """Fails when the whole interval of the slowdown is above `max_slowdown`, passes when the whole of it is not."""

    name: ClassVar[str] = "slowdown"

    max_slowdown: float
    """Share of the former step time, 0 upwards."""
    former: Former
    environment: Environment
    """That of the case that is judged."""
    job_spread: float
    """How far jobs that run the same code are apart, as a share; it is added to an interval against a baseline."""

    def judge(self, reading: Reading, card: Card) -> Verdict:  # noqa: ARG002 (the former code is the measure, not the card)
        """Decide whether steps take longer.

        `OutOfMemory` fails. `NotMeasured`, nothing to compare with, a baseline of another device or GPU, too few steps, an
        interval that holds the limit, and a missing scipy give UNJUDGED with the reason. Never raises.
        """
        # Every branch returns, so a reading that is added and forgotten here is mypy's "missing return statement".
        match reading:
            case NotMeasured():
                return self._verdict(Outcome.UNJUDGED, reading.reason)
            case OutOfMemory():
                return self._verdict(Outcome.FAIL, f"out of memory in phase {reading.phase!r}: no step time to compare")
            case Measurement():
                return self._compare(reading)

    def _compare(self, measured: Measurement) -> Verdict:
        if isinstance(self.former, NoBaseline):
            return self._verdict(Outcome.UNJUDGED, self.former.reason, required=self.former.required)
        shortage = self._shortage(self.former, measured)
        if shortage is not None:
            return self._verdict(Outcome.UNJUDGED, shortage)
        return self._decide(self.former, measured, _interval(self.former, measured))

    def _shortage(self, former: Baseline | PairedRuns, measured: Measurement) -> str | None:
        """Return what is missing for an interval, with the next step."""
        if not intervals_can_be_had():
            return "scipy: not installed, expected for step times; install it: pip install 'pytest-vramguard[stats]'"
        if isinstance(former, PairedRuns):
            count = len(former.seconds)
            found = f"got {count} rounds with step times of both, expected at least {FEWEST_PAIRS}"
            return f"{found}{_void_text(former)}" if count < FEWEST_PAIRS else None
        strange = not_comparable(former, self.environment)
        if strange is not None:
            return strange
        for name, steps in (("the baseline", former.measurement), ("this run", measured)):
            if len(steps.steady_steps) < FEWEST_SAMPLES:
                found = f"got {len(steps.steady_steps)} steady steps in {name}, expected at least {FEWEST_SAMPLES}"
                return f"{found}{_void_text(steps)}; give the marker more steps, as in steps=10"
        return None

    def _decide(self, former: Baseline | PairedRuns, measured: Measurement, interval: RatioInterval) -> Verdict:
        spread = 0 if isinstance(former, PairedRuns) else self.job_spread
        low, high = interval.low / (1 + spread) - 1, interval.high * (1 + spread) - 1
        basis = (
            f"{len(former.seconds)} rounds in turn"
            if isinstance(former, PairedRuns)
            else f"{len(former.measurement.steady_steps)} and {len(measured.steady_steps)} steps, {share_text(spread)} "
            "between jobs included"
        )
        found = f"interval of {CONFIDENCE:.0%} from {low * 100:+.1f} % to {high * 100:+.1f} % ({basis})"
        slower = interval.ratio - 1
        if low > self.max_slowdown:
            return self._verdict(Outcome.FAIL, f"{found} lies beyond the limit", slower, causes=self._causes(former))
        if high <= self.max_slowdown:
            return self._verdict(Outcome.PASS, f"{found} lies within the limit", slower)
        advice = "" if isinstance(former, PairedRuns) else "; next step: vramguard compare, which runs both in turn"
        return self._verdict(Outcome.UNJUDGED, f"inconclusive: {found} holds the limit{advice}", slower)

    def _causes(self, former: Baseline | PairedRuns) -> tuple[str, ...]:
        if isinstance(former, PairedRuns):
            return ()
        changes = [f"{key.key} {key.before} -> {key.now}" for key in changed_keys(former.environment, self.environment)]
        return (f"environment: {', '.join(changes) or 'unchanged'}",)

    def _verdict(
        self,
        outcome: Outcome,
        reason: str,
        observed: float | None = None,
        *,
        required: bool = True,
        causes: tuple[str, ...] = (),
    ) -> Verdict:
        return Verdict(
            gate=self.name,
            metric="longer step time",
            outcome=outcome,
            observed=observed,
            limit=self.max_slowdown,
            unit="share",
            reason=reason,
            required=required,
            causes=causes,
        )


def _interval(former: Baseline | PairedRuns, measured: Measurement) -> RatioInterval:
    if isinstance(former, PairedRuns):
        return ratio_of_pairs(former.seconds)
    before, now = former.measurement.steady_steps, measured.steady_steps
    return ratio_of_samples([step.device_seconds for step in before], [step.device_seconds for step in now])


def _void_text(compared: PairedRuns | Measurement) -> str:
    """Return how many steps are void and why, to follow what is missing."""
    measured = [run for pair in compared.rounds for run in pair] if isinstance(compared, PairedRuns) else [compared]
    void = [step for one in measured for step in one.void_steps]
    reasons = ", ".join(dict.fromkeys(str(step.void_reason) for step in void))
    return f"; {len(void)} steps are void: {reasons}" if void else ""
