"""Sample data with defaults: each builder takes the fields that the test is about and fills in the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from pytest_vramguard.baseline import Baseline
from pytest_vramguard.cards.catalogue import Card
from pytest_vramguard.examination import Examination, Trial
from pytest_vramguard.reading import (
    Measurement,
    NotMeasured,
    Origins,
    OutOfMemory,
    Parts,
    PhasePeak,
    Site,
    SiteBytes,
    StepSample,
    StepSensors,
    SyncSite,
    Work,
)
from pytest_vramguard.report import CaseResult, DeviceFacts, Report
from pytest_vramguard.units import GIB, KIB, MIB
from pytest_vramguard.verdict import Outcome, Verdict

_CARD: Final = Card(
    key="rtx3060",
    name="NVIDIA GeForce RTX 3060",
    nominal_gib=12,
    usable_bytes=12 * GIB,
    usable_bytes_older_driver=None,
    usable_bytes_windows=None,
    context_bytes=256 * MIB,
    architecture="Ampere",
    compute_capability=(8, 6),
    sm_count=28,
    l2_bytes=2304 * KIB,
    shared_memory_per_sm_bytes=100 * KIB,
    shared_memory_per_block_optin_bytes=99 * KIB,
    max_threads_per_sm=1536,
    max_blocks_per_sm=16,
    memory_bus_bits=192,
    memory_bandwidth_bytes_per_second=360e9,
    boost_clock_hz=1_777_000_000,
    memory_clock_hz=7_501_000_000,
    dense_flops_per_second={"bf16": 51e12},
    price_usd=None,
    ecc=False,
    sources={"*": "made up for tests: round sizes"},
)
PARTS: Final = Parts(
    weights_bytes=3 * GIB + 512 * MIB,
    gradients_bytes=16 * MIB,
    optimizer_bytes=8 * MIB,
    activations_bytes=1 * GIB,
    other_bytes=40 * MIB,
)
PHASES: Final = (
    PhasePeak(name="load", peak_allocated_bytes=3584 * MIB, peak_reserved_bytes=4096 * MIB, peak_device_bytes=4352 * MIB),
    PhasePeak(name="first step", peak_allocated_bytes=4672 * MIB, peak_reserved_bytes=5120 * MIB, peak_device_bytes=5376 * MIB),
    PhasePeak(name="steady", peak_allocated_bytes=4672 * MIB, peak_reserved_bytes=5120 * MIB, peak_device_bytes=5376 * MIB),
)
_WORK: Final = Work(
    step_count=2,
    kernel_launches=2000,
    library_calls=400,
    syncs=(
        SyncSite(place="src/train.py:31", code="total += loss.item()", via=None, count=4),
        SyncSite(place="train.py:12", code="trainer.train()", via="transformers/trainer.py:1911", count=2),
    ),
    bytes_to_device=16 * KIB,
    bytes_to_host=20,
    driver_allocations=1,
    flops=7_500_000_000,
)
PYTORCH_TEXT: Final = (
    "CUDA out of memory. Tried to allocate 86.00 MiB. GPU 0 has a total capacity of 11.63 GiB of which 12.69 MiB is free.\n"
    "See documentation for Memory Management"
)

_MEASUREMENT: Final = Measurement(
    peak_allocated_bytes=PARTS.total_bytes,
    peak_reserved_bytes=5 * GIB,
    context_bytes=256 * MIB,
    parts=PARTS,
    phases=PHASES,
    step_count=4,
)
_OUT_OF_MEMORY: Final = OutOfMemory(
    message=PYTORCH_TEXT,
    phase="load",
    peak_allocated_bytes=11 * GIB,
    peak_reserved_bytes=11 * GIB + 100 * MIB,
    context_bytes=256 * MIB,
    parts=Parts(weights_bytes=11 * GIB),
    phases=(
        PhasePeak(
            name="load",
            peak_allocated_bytes=11 * GIB,
            peak_reserved_bytes=11 * GIB + 100 * MIB,
            peak_device_bytes=11 * GIB + 356 * MIB,
        ),
    ),
)
_SENSORS: Final = StepSensors(
    lowest_clock_hz=1_410_000_000,
    highest_temperature_celsius=71,
    highest_power_watts=149.5,
    clock_reasons=("sw_power_cap",),
    other_process_count=0,
)
_VERDICT: Final = Verdict(
    gate="fit",
    metric="peak device bytes",
    outcome=Outcome.PASS,
    observed=5 * GIB + 256 * MIB,
    limit=12 * GIB,
    unit="bytes",
    reason="5.25 GiB is 6.75 GiB (7247757312 bytes, 56.2 %) under the 12.00 GiB usable on rtx3060",
)
_BAND_VERDICT: Final = Verdict(
    gate="band",
    metric="peak device bytes / usable bytes",
    outcome=Outcome.PASS,
    observed=0.8,
    limit=(0.7, 0.9),
    unit="share",
    reason="80.0 % of the 12.00 GiB usable on rtx3060 is inside the band of 70.0 % to 90.0 %",
)
_DEVICE: Final = DeviceFacts(
    kind="emulated",
    name="NVIDIA GeForce RTX 3060",
    usable_bytes=12 * GIB,
    compute_capability="8.6",
    driver="580.65.06",
    versions=(("torch", "2.14.1"), ("cuda", "13.0")),
)
_CASE: Final = CaseResult(
    id="tests/test_fit.py::test_7b_nf4[rtx3060]",
    target="rtx3060",
    target_usable_bytes=12 * GIB,
    device=_DEVICE,
    reading=_MEASUREMENT,
    verdicts=(_VERDICT,),
)


_BASELINE: Final = Baseline(
    case=_CASE.id,
    target=_CASE.target,
    environment=_CASE.environment,
    measurement=_MEASUREMENT,
    tool="pytest-vramguard 0.1.0",
)


def card(**fields: Any) -> Card:
    """Return a card of exactly 12 GiB, with `fields` replaced."""
    return replace(_CARD, **fields)


def measurement(**fields: Any) -> Measurement:
    """Return the reading of a 7B nf4 LoRA case on an emulated card, with `fields` replaced."""
    return replace(_MEASUREMENT, **fields)


def site_bytes(line: str, size_bytes: int, *, code: str = "", library: str = "", module: str = "") -> SiteBytes:
    """Return what a line of a script held, or the backward pass of a module where there is no line."""
    return SiteBytes(site=Site(line=line, code=code, library=library, module=module), size_bytes=size_bytes)


def origins(**fields: Any) -> Origins:
    """Return where a small peak came from, with `fields` replaced."""
    held = (
        site_bytes("train.py:8 in load", 512 * MIB, code="model = load().cuda()"),
        site_bytes("train.py:41 in loss_of", 64 * MIB, code="return f(logits)", library="torch/nn/functional.py:9 in f"),
        site_bytes("", 32 * MIB, module="lm_head"),
    )
    modules = (("model.layers.*.mlp", 400 * MIB), ("lm_head", 144 * MIB))
    kept = (site_bytes("train.py:20 in step", 6 * MIB, code="outputs.append(model(batch))"),)
    defaults = Origins(
        adapters_bytes=MIB, logits_bytes=64 * MIB, modules=modules, sites=held, other_sites_bytes=512, survivors=kept
    )
    return replace(defaults, **fields)


def work(**fields: Any) -> Work:
    """Return the work of two steady steps, with `fields` replaced."""
    return replace(_WORK, **fields)


def measured_device_bytes(device_bytes: int) -> Measurement:
    """Return a measurement whose device peak is exactly `device_bytes`."""
    return measurement(peak_reserved_bytes=device_bytes - 1, context_bytes=1)


def out_of_memory(**fields: Any) -> OutOfMemory:
    """Return the reading of a bf16 case that ran out of memory while it loaded, with `fields` replaced."""
    return replace(_OUT_OF_MEMORY, **fields)


def not_measured(reason: str = "no CUDA build of torch; next step: install torch from PyPI") -> NotMeasured:
    """Return a reading without numbers."""
    return NotMeasured(reason=reason)


def step(device_seconds: float = 0.1, *, tokens: int | None = 512, sensors: StepSensors | None = None) -> StepSample:
    """Return one timed step."""
    return StepSample(host_seconds=0.125, device_seconds=device_seconds, tokens=tokens, sensors=sensors)


def sensors(**fields: Any) -> StepSensors:
    """Return what the sensors of a card at full load say, with `fields` replaced."""
    return replace(_SENSORS, **fields)


def timed(*device_seconds: float, **fields: Any) -> Measurement:
    """Return a measurement with steps of these times."""
    return measurement(steps=tuple(map(step, device_seconds)), step_count=len(device_seconds), **fields)


def verdict(**fields: Any) -> Verdict:
    """Return a passing verdict of the fit gate, with `fields` replaced."""
    return replace(_VERDICT, **fields)


def band_verdict(**fields: Any) -> Verdict:
    """Return a passing verdict of the band gate, with `fields` replaced."""
    return replace(_BAND_VERDICT, **fields)


def device(**fields: Any) -> DeviceFacts:
    """Return an emulated RTX 3060, with `fields` replaced."""
    return replace(_DEVICE, **fields)


def case(**fields: Any) -> CaseResult:
    """Return a passing case, with `fields` replaced."""
    return replace(_CASE, **fields)


def baseline(**fields: Any) -> Baseline:
    """Return the baseline of the passing case, with `fields` replaced."""
    return replace(_BASELINE, **fields)


def report(*cases: CaseResult) -> Report:
    """Return a report of `cases`, or of one passing case."""
    return Report(tool="pytest-vramguard 0.1.0", cases=cases or (case(),))


def mixed_report() -> Report:
    """Return one case of each kind: advised, out of memory, too large on a real card with step times, not measured."""
    return report(
        case(reading=measurement(work=work()), advice="43.8 % of the card: over-provisioned, a smaller card would do"),
        case(
            id="tests/test_fit.py::test_7b_bf16[rtx3060]",
            reading=out_of_memory(),
            verdicts=(
                verdict(
                    outcome=Outcome.FAIL,
                    observed=11 * GIB + 356 * MIB,
                    reason=f"out of memory in phase 'load': {PYTORCH_TEXT.splitlines()[0]}",
                ),
                band_verdict(
                    outcome=Outcome.FAIL,
                    observed=(11 * GIB + 356 * MIB) / (12 * GIB),
                    reason="out of memory in phase 'load', above the band of 70.0 % to 90.0 %: no head-room",
                ),
            ),
        ),
        real_card_case(),
        case(
            id="tests/test_fit.py::test_somebody[t4]",
            target="t4",
            target_usable_bytes=15 * GIB,
            device=device(name="Tesla T4", usable_bytes=15 * GIB, compute_capability="7.5"),
            reading=not_measured(),
            verdicts=(verdict(outcome=Outcome.UNJUDGED, observed=None, limit=15 * GIB, reason=not_measured().reason),),
        ),
    )


def real_card_case() -> CaseResult:
    """Return a case that is too large by both gates, on a real card, with everything that a measurement can say."""
    return case(
        id="tests/recipes/integration/test_every_recipe_of_the_shop.py::test_travel_assistant_full_finetuning[a10g]",
        target="a10g",
        target_usable_bytes=22 * GIB,
        device=device(kind="cuda", name="NVIDIA A10G", usable_bytes=22 * GIB, driver="580.95.05"),
        reading=measurement(
            peak_allocated_bytes=20 * GIB,
            peak_reserved_bytes=21 * GIB,
            context_bytes=512 * MIB,
            parts=Parts(weights_bytes=6 * GIB, gradients_bytes=6 * GIB, optimizer_bytes=3 * GIB, activations_bytes=5 * GIB),
            phases=(
                PhasePeak(name="load", peak_allocated_bytes=6 * GIB, peak_reserved_bytes=6 * GIB, peak_device_bytes=6656 * MIB),
                PhasePeak(
                    name="steady", peak_allocated_bytes=20 * GIB, peak_reserved_bytes=21 * GIB, peak_device_bytes=22016 * MIB
                ),
            ),
            steps=(
                step(0.110, sensors=sensors()),
                step(0.100),
                step(0.150, sensors=sensors(lowest_clock_hz=1_395_000_000)),
                step(0.400, sensors=sensors(clock_reasons=("sw_power_cap", "hw_thermal_slowdown"))),
            ),
            step_count=6,
            allocator_retries=2,
            leftover_bytes=8_519_680,
            notes=("another process holds 1.0 GiB of the card; next step: stop it",),
        ),
        verdicts=(
            verdict(
                outcome=Outcome.FAIL,
                observed=21 * GIB + 512 * MIB,
                limit=20 * GIB,
                reason="21.50 GiB is 1.50 GiB (1610612736 bytes, 7.5 %) over the 20.00 GiB of max_gb",
            ),
            band_verdict(
                outcome=Outcome.FAIL,
                observed=21.5 / 22,
                reason="97.7 % of the 22.00 GiB usable on a10g is 1.70 GiB (1825361101 bytes) "
                "above the band of 70.0 % to 90.0 %: no head-room",
            ),
        ),
    )


def examination(**fields: Any) -> Examination:
    """Return what a machine without a real card shows, on which emulation works."""
    return Examination(
        **{
            "system": "Linux x86_64",
            "python": "3.11.7",
            "torch": "2.14.1+cu130",
            "cuda": "13.0",
            "packages": (("transformers", "5.23.0"),),
            "driver": None,
            "real_cards": (),
            "cuda_trial": None,
            "emulation": Trial(works=True, account="a training step took 36.3 MiB"),
            **fields,
        }
    )
