"""What the growth and shrink gates decide, to the byte, and what they say when they cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_vramguard.allowance import PeakAllowance, parse_allowances
from pytest_vramguard.gates import GrowthGate, NoBaseline, ShrinkGate
from pytest_vramguard.reading import Measurement, Parts, PhasePeak
from pytest_vramguard.units import GIB, MIB
from pytest_vramguard.verdict import Outcome, Verdict
from tests import samples

CARD = samples.card()
BASE_BYTES = 1_000_000


def allocated(size_bytes: int, **fields: Any) -> Measurement:
    """Return a measurement whose allocated peak is exactly `size_bytes`."""
    return samples.measurement(peak_allocated_bytes=size_bytes, parts=Parts(weights_bytes=size_bytes), phases=(), **fields)


def judged(kind: type[GrowthGate | ShrinkGate], limit: str, reading: Any, **fields: Any) -> Verdict:
    """Return the verdict of a gate of this limit on a baseline of `BASE_BYTES`, or on what `fields` say."""
    (wanted,) = parse_allowances(limit)
    return gate(kind, wanted, **fields).judge(reading, CARD)


def gate(kind: type[GrowthGate | ShrinkGate], wanted: PeakAllowance, **fields: Any) -> GrowthGate | ShrinkGate:
    """Return a gate with defaults for what `fields` do not say."""
    defaults = {
        "reference": samples.baseline(measurement=allocated(BASE_BYTES)),
        "environment": samples.baseline().environment,
    }
    return kind(peak=wanted.peak, allowance=wanted.allowance, **{**defaults, **fields})


@pytest.mark.parametrize(
    ("limit", "limit_bytes"),
    [("0", 0), ("1%", 10_000), ("7B", 7), ("64KiB", 65_536), ("1%+8B", 10_000), ("1%+64KiB", 65_536)],
)
@pytest.mark.parametrize(("off_bytes", "outcome"), [(-1, Outcome.PASS), (0, Outcome.PASS), (1, Outcome.FAIL)])
def test_growth_to_the_byte(limit: str, limit_bytes: int, off_bytes: int, outcome: Outcome) -> None:
    """One byte above the limit fails, the limit itself passes; both of share and size must be passed."""
    verdict = judged(GrowthGate, limit, allocated(BASE_BYTES + limit_bytes + off_bytes))

    assert (outcome, BASE_BYTES + limit_bytes) == (verdict.outcome, verdict.limit)


@pytest.mark.parametrize(("limit", "limit_bytes"), [("0", 0), ("1%", 10_000), ("1%+64KiB", 65_536)])
@pytest.mark.parametrize(("off_bytes", "outcome"), [(-1, Outcome.FAIL), (0, Outcome.PASS), (1, Outcome.PASS)])
def test_shrinking_to_the_byte(limit: str, limit_bytes: int, off_bytes: int, outcome: Outcome) -> None:
    """One byte below the limit fails, the limit itself passes."""
    verdict = judged(ShrinkGate, limit, allocated(BASE_BYTES - limit_bytes + off_bytes))

    assert (outcome, BASE_BYTES - limit_bytes) == (verdict.outcome, verdict.limit)


def test_each_gate_looks_one_way() -> None:
    """What shrank did not grow, and what grew did not shrink."""
    assert Outcome.PASS is judged(GrowthGate, "0", allocated(1)).outcome
    assert Outcome.PASS is judged(ShrinkGate, "0", allocated(2 * BASE_BYTES)).outcome


@pytest.mark.parametrize("peak", ["allocated", "reserved", "device"])
def test_only_the_named_peak_is_judged(peak: str) -> None:
    """A limit of one peak says nothing about the others."""
    field = "context_bytes" if peak == "device" else f"peak_{peak}_bytes"
    before = samples.measurement(peak_reserved_bytes=BASE_BYTES, peak_allocated_bytes=BASE_BYTES, context_bytes=BASE_BYTES)
    grown = replace(before, **{field: BASE_BYTES + 1})  # type: ignore[arg-type]  # one of three sizes
    reference = samples.baseline(measurement=before)

    outcomes = {name: judged(GrowthGate, f"{name}=0", grown, reference=reference).outcome for name in ("allocated", peak)}

    assert Outcome.FAIL is outcomes[peak]
    assert peak == "allocated" or Outcome.PASS is outcomes["allocated"]


def test_what_a_pass_says() -> None:
    """A pass names both sizes, the difference, and what the limit allows."""
    verdict = judged(GrowthGate, "1%", allocated(BASE_BYTES + 5000))

    assert verdict == Verdict(
        gate="growth",
        metric="peak allocated bytes",
        outcome=Outcome.PASS,
        observed=1_005_000,
        limit=1_010_000,
        unit="bytes",
        reason="0.00 GiB is 4.9 KiB (5000 bytes, 0.5 %) over the 0.00 GiB of the baseline; 1% allows 9.8 KiB (10000 bytes)",
    )


def test_no_change() -> None:
    """An equal peak is said to be equal."""
    assert "0.00 GiB is exactly the baseline" == judged(GrowthGate, "0", allocated(BASE_BYTES)).reason


def test_a_baseline_of_nothing() -> None:
    """A peak of 0 bytes is a baseline like any other."""
    verdict = judged(GrowthGate, "1%", allocated(1), reference=samples.baseline(measurement=allocated(0)))

    assert (Outcome.FAIL, 0) == (verdict.outcome, verdict.limit)


def test_the_cause_of_growth() -> None:
    """A failure says which parts and phases changed, the largest growth first, and what else is not as it was."""
    before = samples.measurement(
        peak_allocated_bytes=30 * MIB,
        peak_reserved_bytes=40 * MIB,
        parts=Parts(weights_bytes=20 * MIB, activations_bytes=10 * MIB),
        phases=(PhasePeak(name="steady", peak_allocated_bytes=30 * MIB, peak_reserved_bytes=0, peak_device_bytes=0),),
    )
    now = samples.measurement(
        peak_allocated_bytes=46 * MIB,
        peak_reserved_bytes=58 * MIB,
        parts=Parts(weights_bytes=19 * MIB, activations_bytes=25 * MIB, optimizer_bytes=2 * MIB),
        phases=tuple(
            PhasePeak(name=name, peak_allocated_bytes=46 * MIB, peak_reserved_bytes=0, peak_device_bytes=0)
            for name in ("steady", "eval")
        ),
    )
    environment = (
        *(pair for pair in samples.baseline().environment if pair[0] != "torch"),
        ("torch", "2.15.0"),
        ("recipe", "12ab"),
    )

    verdict = judged(GrowthGate, "1%", now, reference=samples.baseline(measurement=before), environment=environment)

    assert (
        "parts: activations +15.0 MiB (+150.0 %), optimizer +2.0 MiB (from nothing), weights -1.0 MiB (-5.0 %); "
        "finer: fragmentation +2.0 MiB (+20.0 %)",
        "allocated peak by phase: steady +16.0 MiB (+53.3 %), eval is new",
        "environment: torch 2.14.1 -> 2.15.0, recipe none -> 12ab",
    ) == verdict.causes


def test_where_growth_comes_from() -> None:
    """Where the origins of both peaks are known, a failure says the finer parts, the module and the lines."""
    origins = samples.origins(
        logits_bytes=112 * MIB,
        modules=(("model.layers.*.mlp", 400 * MIB), ("lm_head", 192 * MIB)),
        sites=(
            *samples.origins().sites,
            samples.site_bytes("train.py:40 in loss_of", 48 * MIB, code="logits = logits.float()"),
        ),
    )
    before = allocated(BASE_BYTES, origins=samples.origins(other_sites_bytes=0))
    now = allocated(BASE_BYTES + 48 * MIB, origins=origins)

    verdict = judged(GrowthGate, "1%", now, reference=samples.baseline(measurement=before))

    assert "finer: logits +48.0 MiB (+75.0 %), fragmentation -48.0 MiB (-0.9 %)" == verdict.causes[0].partition("; ")[2]
    assert (
        "modules: lm_head +48.0 MiB (+33.3 %)",
        "at train.py:40 in loss_of: logits = logits.float(): +48.0 MiB",
        "allocated peak by phase: unchanged",
        "environment: unchanged",
    ) == verdict.causes[1:]


def test_a_baseline_that_does_not_say_where_its_peak_came_from() -> None:
    """An older baseline is compared all the same, and the failure says how to have lines and modules compared."""
    verdict = judged(GrowthGate, "1%", allocated(2 * BASE_BYTES, origins=samples.origins()))

    assert (
        "the baseline does not say which lines and modules allocated; accept it anew to have them compared"
        == (verdict.causes[1])
    )


@pytest.mark.parametrize(("key", "value"), [("device", "cuda"), ("gpu", "NVIDIA A10G")])
def test_another_device_is_not_judged(key: str, value: str) -> None:
    """A baseline of another kind of device or another GPU gives UNJUDGED with the key, however small the peak."""
    baseline = samples.baseline(measurement=allocated(BASE_BYTES))
    environment = tuple((name, value if name == key else text) for name, text in baseline.environment)
    was = dict(baseline.environment)[key]

    verdict = judged(GrowthGate, "1%", allocated(1), environment=environment)

    assert (Outcome.UNJUDGED, True) == (verdict.outcome, verdict.is_red)
    assert verdict.reason.startswith(f"the baseline says nothing about this: {key} was {was!r} and is {value!r}; ")


@pytest.mark.parametrize("required", [False, True])
def test_no_baseline_is_not_judged(required: bool) -> None:  # noqa: FBT001 (a parameter of the test)
    """Without a baseline the verdict is UNJUDGED with the reason, and red where one is required."""
    verdict = judged(GrowthGate, "1%", allocated(1), reference=NoBaseline(reason="none there", required=required))

    assert (Outcome.UNJUDGED, "none there", required) == (verdict.outcome, verdict.reason, verdict.is_red)


def test_out_of_memory_fails() -> None:
    """A full card has no peak to compare, and is never a pass."""
    verdicts = [judged(kind, "1%", samples.out_of_memory(peak_allocated_bytes=1)) for kind in (GrowthGate, ShrinkGate)]

    assert [Outcome.FAIL, Outcome.FAIL] == [verdict.outcome for verdict in verdicts]
    assert "out of memory in phase 'load': no peak to compare with the baseline" == verdicts[0].reason


def test_what_filled_the_card() -> None:
    """Out of memory above the baseline is explained as growth is; below it only what else is not as it was can be said."""
    origins = samples.origins(sites=(samples.site_bytes("train.py:9 in keep", 3 * GIB),))
    reference = samples.baseline(measurement=allocated(BASE_BYTES, origins=samples.origins(sites=(), other_sites_bytes=0)))
    parts = replace(reference.measurement.parts, other_bytes=3 * GIB)
    above = samples.out_of_memory(peak_allocated_bytes=BASE_BYTES + 3 * GIB, parts=parts, origins=origins, phases=())
    below = samples.out_of_memory(peak_allocated_bytes=BASE_BYTES - 1, origins=origins)

    verdicts = [judged(GrowthGate, "1%", reading, reference=reference) for reading in (above, below)]

    assert "out of memory in phase 'load', with 3.00 GiB more allocated than the baseline" == verdicts[0].reason
    assert "at train.py:9 in keep: +3.00 GiB" in verdicts[0].causes
    assert ("environment: unchanged",) == verdicts[1].causes
    assert () == judged(ShrinkGate, "1%", above, reference=reference).causes


def test_not_measured_is_not_judged() -> None:
    """Without a measurement the reason is that of the reading, and red."""
    verdict = judged(GrowthGate, "1%", samples.not_measured("no card"))

    assert (Outcome.UNJUDGED, "no card", True) == (verdict.outcome, verdict.reason, verdict.is_red)


def test_a_baseline_is_its_measurement() -> None:
    """Two baselines that differ in the tool alone are equal."""
    baseline = samples.baseline()

    assert baseline == replace(baseline, tool="pytest-vramguard 9.9.9")
