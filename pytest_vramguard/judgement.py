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
    advise,
)
from pytest_vramguard.reading import Measurement, Reading
from pytest_vramguard.report import CaseResult, environment_of
from pytest_vramguard.units import bytes_of_gib

if TYPE_CHECKING:
    from pytest_vramguard.cards import Card
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
    """Return the creep gate where it was asked for, or where there are steps enough to judge without being asked."""
    if settings.max_creep_bytes is not None:
        return [CreepGate(max_bytes=settings.max_creep_bytes)]
    enough = isinstance(reading, Measurement) and len(reading.after_step_bytes) > STEADY_STEPS
    return [CreepGate(max_bytes=0)] if enough else []


def _gates_of_baseline(
    case_id: str, card: Card, device: DeviceFacts, settings: Settings, conditions: tuple[tuple[str, str], ...]
) -> list[Gate]:
    """Return the gates that compare with a baseline; none where this very run is to become the baseline."""
    if settings.accept or not (settings.max_growth or settings.max_shrink):
        return []
    store = BaselineStore(folder=settings.baselines)
    reference = store.reference(case_id, card.key, device.kind, required=settings.require_baseline)
    environment = environment_of(device, conditions)
    return [
        kind(peak=limit.peak, allowance=limit.allowance, reference=reference, environment=environment)
        for kind, limits in ((GrowthGate, settings.max_growth), (ShrinkGate, settings.max_shrink))
        for limit in limits
    ]


def _advice(card: Card, reading: Reading, settings: Settings) -> str | None:
    if settings.band is not None or not isinstance(reading, Measurement) or not reading.peak_reserved_bytes:
        return None  # of what used no memory, as a launcher of others, no card is too large
    return advise(reading.peak_device_bytes / card.usable_bytes)
