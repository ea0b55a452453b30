"""Which gates judge a case, and the result that they make of its reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_vramguard.baselines import BaselineStore
from pytest_vramguard.gates import (
    STEADY_STEPS,
    BandGate,
    CreepGate,
    FitGate,
    Gate,
    GrowthGate,
    LongestGate,
    PhaseGate,
    ShrinkGate,
    SlowdownGate,
    WorkGate,
    WorkGrowthGate,
    advise,
)
from pytest_vramguard.gates.slowdown import EMULATED
from pytest_vramguard.reading import Measurement, Reading
from pytest_vramguard.report import CaseResult, environment_of
from pytest_vramguard.settings import limits_of
from pytest_vramguard.units import bytes_of_gib

if TYPE_CHECKING:
    from pytest_vramguard.baseline import Environment
    from pytest_vramguard.cards import Card
    from pytest_vramguard.gates.growth import Reference
    from pytest_vramguard.gates.slowdown import Former
    from pytest_vramguard.report import DeviceFacts
    from pytest_vramguard.settings import Settings


def judged(  # noqa: PLR0913 (everything that a result is made of)
    case_id: str,
    card: Card,
    device: DeviceFacts,
    reading: Reading,
    settings: Settings,
    *,
    conditions: tuple[tuple[str, str], ...],
) -> CaseResult:
    """Return the result of a case that read `reading`: the verdict of each gate that `settings` ask for."""
    gates = [
        *_gates_of_card(settings),
        *_gates_of_steps(reading, settings),
        *_gates_of_baseline(case_id, card, device, settings, conditions),
    ]
    return CaseResult(
        id=case_id,
        target=card.key,
        target_usable_bytes=card.usable_bytes,
        device=device,
        reading=reading,
        verdicts=tuple(gate.judge(reading, card) for gate in gates),
        advice=_advice(card, reading, settings),
        conditions=conditions,
        limits=limits_of(settings),
    )


def _gates_of_card(settings: Settings) -> list[Gate]:
    gates: list[Gate] = [fit_gate(settings)]
    if settings.band is not None:
        gates.append(BandGate(low=settings.band[0], high=settings.band[1]))
    gates += [PhaseGate(limit=limit) for limit in settings.phases]
    return [*gates, *(LongestGate(quantity=name, minimum=minimum) for name, minimum in settings.minimums)]


def fit_gate(settings: Settings) -> FitGate:
    """Return the gate that every case has."""
    return FitGate(max_bytes=None if settings.max_gb is None else max(bytes_of_gib(settings.max_gb), 1))


def _gates_of_steps(reading: Reading, settings: Settings) -> list[Gate]:
    """Return the gates of the work of a step, and the creep gate where it was asked for, or where there are steps enough."""
    gates: list[Gate] = [WorkGate(figure=figure, most=most) for figure, most in settings.work_limits.items()]
    enough = isinstance(reading, Measurement) and len(reading.after_step_bytes) > STEADY_STEPS
    if settings.max_creep_bytes is not None or enough:
        gates.append(CreepGate(max_bytes=settings.max_creep_bytes or 0))
    return gates


def _gates_of_baseline(
    case_id: str, card: Card, device: DeviceFacts, settings: Settings, conditions: tuple[tuple[str, str], ...]
) -> list[Gate]:
    """Return the gates that compare with a baseline; none where this very run is to become the baseline."""
    compares = settings.max_growth or settings.max_shrink or settings.work_growth or settings.max_slowdown is not None
    if settings.accept or not compares:
        return []
    store = BaselineStore(folder=settings.baselines)
    reference = store.reference(case_id, card.key, device.kind, required=settings.require_baseline)
    former = EMULATED if device.kind == "emulated" else reference
    return comparing_gates(settings, reference, former, environment_of(device, conditions))


def comparing_gates(settings: Settings, reference: Reference, former: Former, environment: Environment) -> list[Gate]:
    """Return the gates of `settings` that compare with what was before: step times with `former`, all else with `reference`."""
    gates: list[Gate] = [
        kind(peak=limit.peak, allowance=limit.allowance, reference=reference, environment=environment)
        for kind, limits in ((GrowthGate, settings.max_growth), (ShrinkGate, settings.max_shrink))
        for limit in limits
    ]
    gates += [
        WorkGrowthGate(
            figure=figure,
            allowance=allowance,
            reference=reference,
            baseline_required=settings.require_baseline,
            environment=environment,
        )
        for figure, allowance in settings.work_growth.items()
    ]
    if settings.max_slowdown is not None:
        gates.append(
            SlowdownGate(
                max_slowdown=settings.max_slowdown,
                former=former,
                environment=environment,
                job_spread=settings.job_spread,
            )
        )
    return gates


def _advice(card: Card, reading: Reading, settings: Settings) -> str | None:
    if settings.band is not None or not isinstance(reading, Measurement) or not reading.peak_reserved_bytes:
        return None  # of what used no memory, as a launcher of others, no card is too large
    return advise(reading.peak_device_bytes / card.usable_bytes)
