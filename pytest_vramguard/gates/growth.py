"""The growth and shrink gates: is a peak what it was when somebody accepted it.

They judge the allocated peak unless told otherwise: it repeats to the byte, while the reserved and the device peak move with
fragmentation and the driver. An unnoticed improvement is a stale baseline, below which the next growth hides: hence `shrink`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from pytest_vramguard.baseline import Baseline, Comparison, Environment, not_comparable
from pytest_vramguard.gates.cause import environment_line, explain
from pytest_vramguard.reading import Measurement, NotMeasured, OutOfMemory, Reading, UsedMemory
from pytest_vramguard.units import gib_text, share_text, size_text
from pytest_vramguard.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pytest_vramguard.allowance import Allowance, PeakName
    from pytest_vramguard.cards.catalogue import Card


@dataclass(frozen=True, kw_only=True, slots=True)
class NoBaseline:
    """There is nothing to compare with."""

    reason: str
    """Why, with the next step."""
    required: bool
    """Whether that fails the test: always where a baseline is faulty, and where the project requires one."""


Reference: TypeAlias = Baseline | NoBaseline


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineGate:
    """What both gates are: a peak beside its baseline."""

    name: ClassVar[str]
    sign: ClassVar[int]
    """1 where more than the baseline is looked for, -1 where less is."""

    peak: PeakName
    allowance: Allowance
    reference: Reference
    environment: Environment
    """That of the case that is judged."""

    def judge(self, reading: Reading, card: Card) -> Verdict:  # noqa: ARG002 (the baseline is the measure, not the card)
        """Decide whether the peak moved too far.

        Compares with the baseline's peak plus or minus the allowance, in bytes. `OutOfMemory` fails. `NotMeasured`, no
        baseline, and one of another device or GPU give UNJUDGED with the reason. Never raises.
        """
        return _judge(self, reading)


@dataclass(frozen=True, kw_only=True, slots=True)
class GrowthGate(BaselineGate):
    """Fails when a peak is larger than its baseline by more than is allowed; equal to the limit passes."""

    name: ClassVar[str] = "growth"
    sign: ClassVar[int] = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ShrinkGate(BaselineGate):
    """Fails when a peak is smaller than its baseline by more than is allowed; equal to the limit passes."""

    name: ClassVar[str] = "shrink"
    sign: ClassVar[int] = -1


def _judge(gate: BaselineGate, reading: Reading) -> Verdict:
    # Every branch returns, so a reading that is added and forgotten here is mypy's "missing return statement".
    match reading:
        case NotMeasured():
            return _verdict(gate, Outcome.UNJUDGED, reason=reading.reason)
        case OutOfMemory():
            return _out_of_memory(gate, reading)
        case Measurement():
            return _compare(gate, reading)


def _out_of_memory(gate: BaselineGate, reading: OutOfMemory) -> Verdict:
    """Return the verdict of a case that ended too early; the growth gate explains what it held by then, as far as that grew."""
    reason = f"out of memory in phase {reading.phase!r}: no peak to compare with the baseline"
    causes: tuple[str, ...] = ()
    reference = gate.reference
    if gate.sign > 0 and isinstance(reference, Baseline) and not_comparable(reference, gate.environment) is None:
        comparison = Comparison(baseline=reference, measurement=reading, environment=gate.environment)
        gap_bytes = reading.peak_allocated_bytes - reference.measurement.peak_allocated_bytes
        if gap_bytes > 0:
            reason = f"out of memory in phase {reading.phase!r}, with {size_text(gap_bytes)} more allocated than the baseline"
        causes = explain(comparison) if gap_bytes > 0 else (environment_line(comparison.keys),)
    return _verdict(gate, Outcome.FAIL, observed_bytes=_peak_bytes(reading, gate.peak), reason=reason, causes=causes)


def _compare(gate: BaselineGate, measured: Measurement) -> Verdict:
    observed_bytes = _peak_bytes(measured, gate.peak)
    if isinstance(gate.reference, NoBaseline):
        reason, required = gate.reference.reason, gate.reference.required
        return _verdict(gate, Outcome.UNJUDGED, observed_bytes=observed_bytes, reason=reason, required=required)
    strange = not_comparable(gate.reference, gate.environment)
    if strange is not None:
        return _verdict(gate, Outcome.UNJUDGED, observed_bytes=observed_bytes, reason=strange)
    baseline_bytes = _peak_bytes(gate.reference.measurement, gate.peak)
    limit_bytes = max(baseline_bytes + gate.sign * gate.allowance.of(baseline_bytes), 0)
    passes = gate.sign * observed_bytes <= gate.sign * limit_bytes
    comparison = Comparison(baseline=gate.reference, measurement=measured, environment=gate.environment)
    return _verdict(
        gate,
        Outcome.PASS if passes else Outcome.FAIL,
        observed_bytes=observed_bytes,
        limit_bytes=limit_bytes,
        reason=_reason(observed_bytes, baseline_bytes, gate.allowance),
        causes=() if passes else explain(comparison),
    )


def _reason(observed_bytes: int, baseline_bytes: int, allowance: Allowance) -> str:
    gap_bytes = abs(observed_bytes - baseline_bytes)
    if gap_bytes == 0:
        return f"{gib_text(observed_bytes)} is exactly the baseline"
    share = f", {share_text(gap_bytes / baseline_bytes)}" if baseline_bytes else ""
    side = "over" if observed_bytes > baseline_bytes else "under"
    gap = f"{size_text(gap_bytes)} ({gap_bytes} bytes{share}) {side} the {gib_text(baseline_bytes)} of the baseline"
    allowed_bytes = allowance.of(baseline_bytes)
    return f"{gib_text(observed_bytes)} is {gap}; {allowance.text} allows {size_text(allowed_bytes)} ({allowed_bytes} bytes)"


def _peak_bytes(reading: UsedMemory, peak: PeakName) -> int:
    peaks = {
        "allocated": reading.peak_allocated_bytes,
        "reserved": reading.peak_reserved_bytes,
        "device": reading.peak_device_bytes,
    }
    return peaks[peak]


def _verdict(  # noqa: PLR0913 (the fields of a verdict)
    gate: BaselineGate,
    outcome: Outcome,
    *,
    reason: str,
    observed_bytes: int | None = None,
    limit_bytes: int | None = None,
    required: bool = True,
    causes: tuple[str, ...] = (),
) -> Verdict:
    return Verdict(
        gate=gate.name,
        metric=f"peak {gate.peak} bytes",
        outcome=outcome,
        observed=observed_bytes,
        limit=limit_bytes,
        unit="bytes",
        reason=reason,
        required=required,
        causes=causes,
    )
