"""What the slowdown gate decides from an interval, and what it says when it has none."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from pytest_vramguard.gates import NoBaseline, PairedRuns, SlowdownGate
from pytest_vramguard.gates.slowdown import EMULATED
from pytest_vramguard.reading import Measurement
from pytest_vramguard.statistics import FEWEST_PAIRS, FEWEST_SAMPLES
from pytest_vramguard.verdict import Outcome, Verdict
from tests import samples

CARD = samples.card()
REAL = tuple((key, "cuda" if key == "device" else value) for key, value in samples.baseline().environment)


def gate(former: Any, **fields: Any) -> SlowdownGate:
    """Return a gate that allows 10 %, where jobs are 26 % apart."""
    return SlowdownGate(**{"max_slowdown": 0.1, "former": former, "environment": REAL, "job_spread": 0.26, **fields})


def paired(*ratios: float) -> PairedRuns:
    """Return rounds in which the code of now took so many times as long."""
    return PairedRuns(rounds=tuple((samples.timed(1.0), samples.timed(ratio)) for ratio in ratios))


def judged_pairs(*ratios: float) -> Verdict:
    """Return the verdict on such rounds."""
    return gate(paired(*ratios)).judge(samples.timed(1.0), CARD)


def judged_steps(before: float, now: float, **fields: Any) -> Verdict:
    """Return the verdict on a baseline whose steps took around `before`, compared with ones around `now`."""
    return gate(baseline(*around(before)), **fields).judge(samples.timed(*around(now)), CARD)


def around(seconds: float) -> list[float]:
    """Return ten steps within 0.3 % of `seconds`."""
    return [seconds * (1 + index / 3000) for index in range(10)]


def baseline(*seconds: float, **fields: Any) -> Any:
    """Return a baseline of a real card with steps of these times."""
    return samples.baseline(measurement=samples.timed(*seconds), environment=REAL, **fields)


@pytest.mark.parametrize(
    ("ratios", "outcome"),
    [
        ([1.0] * 8, Outcome.PASS),
        ([1.0999] * 8, Outcome.PASS),
        ([1.1001] * 8, Outcome.FAIL),
        ([1.1001] * 7 + [1.0999], Outcome.UNJUDGED),  # of 8 each counts
        ([1.09] * 15 + [3.0], Outcome.PASS),  # of 16 one may be an outlier
        ([1.12] * 15 + [0.5], Outcome.FAIL),
        ([0.5] * 8, Outcome.PASS),
    ],
)
def test_rounds_in_turn(ratios: list[float], outcome: Outcome) -> None:
    """The gate fails if the whole interval lies beyond the limit, passes if none of it does, and is open otherwise."""
    verdict = judged_pairs(*ratios)

    assert outcome is verdict.outcome
    assert verdict.is_red is (outcome is not Outcome.PASS)


def test_what_a_failure_says() -> None:
    """It names the slowdown, the interval and what it rests on."""
    verdict = judged_pairs(*[1.25] * 4, *[1.2] * 4)

    assert verdict == Verdict(
        gate="slowdown",
        metric="longer step time",
        outcome=Outcome.FAIL,
        observed=verdict.observed,
        limit=0.1,
        unit="share",
        reason="interval of 99% from +20.0 % to +25.0 % (8 rounds in turn) lies beyond the limit",
    )
    assert verdict.observed == pytest.approx(0.225, abs=0.001)


def test_doubt_after_rounds_in_turn_is_red() -> None:
    """Where even the paired runs do not decide, the verdict says inconclusive, and is no pass."""
    verdict = judged_pairs(*[1.05] * 4, *[1.15] * 4)

    assert (Outcome.UNJUDGED, True) == (verdict.outcome, verdict.is_red)
    assert "inconclusive: interval of 99% from +5.0 % to +15.0 % (8 rounds in turn) holds the limit" == verdict.reason


@pytest.mark.parametrize(
    ("now", "spread", "outcome"),
    [
        (1.0, 0.26, Outcome.UNJUDGED),
        (1.3, 0.26, Outcome.UNJUDGED),  # jobs may be 26 % apart that run the same code
        (1.4, 0.26, Outcome.FAIL),
        (0.85, 0.26, Outcome.PASS),
        (1.0, 0.02, Outcome.PASS),
        (1.1, 0.02, Outcome.UNJUDGED),
        (1.15, 0.02, Outcome.FAIL),
    ],
)
def test_a_baseline_is_of_another_job(now: float, spread: float, outcome: Outcome) -> None:
    """What jobs differ by is added to the interval, so a baseline decides a few percent only where jobs are alike."""
    assert outcome is judged_steps(1.0, now, job_spread=spread).outcome


def test_doubt_against_a_baseline_is_red() -> None:
    """An interval that holds the limit names the way to decide, and is no pass."""
    verdict = judged_steps(1.0, 1.0)

    assert (Outcome.UNJUDGED, True) == (verdict.outcome, verdict.is_red)
    assert (
        "inconclusive: interval of 99% from -20.7 % to +26.2 % (10 and 10 steps, 26.0 % between jobs included) holds the "
        "limit; next step: vramguard compare, which runs both in turn"
    ) == verdict.reason


def test_the_cause_of_a_slowdown() -> None:
    """Against a baseline the versions and settings that changed are told."""
    environment = tuple((key, "2.15.0" if key == "torch" else value) for key, value in REAL)

    assert ("environment: unchanged",) == judged_steps(1.0, 2.0).causes
    assert ("environment: torch 2.14.1 -> 2.15.0",) == judged_steps(1.0, 2.0, environment=environment).causes


def test_steps_that_warm_up_or_are_void_do_not_count() -> None:
    """A first step that takes ten times as long, and one on a throttled card, leave the verdict as it is."""
    hot = samples.step(5.0, sensors=samples.sensors(clock_reasons=("sw_thermal_slowdown",)))
    now = samples.measurement(steps=(hot, samples.step(10.0), *map(samples.step, around(1.0)), hot))

    verdict = gate(baseline(*around(1.0)), job_spread=0.0).judge(now, CARD)

    assert Outcome.PASS is verdict.outcome
    assert verdict.observed == pytest.approx(0, abs=1e-9)


def test_too_few_steps() -> None:
    """Too few steps on either side are UNJUDGED with the number, and what to give the marker."""
    few, enough = [1.0] * (FEWEST_SAMPLES - 1), [1.0] * FEWEST_SAMPLES
    verdicts = [
        gate(baseline(*few)).judge(samples.timed(*enough), CARD),
        gate(baseline(*enough)).judge(samples.timed(*few), CARD),
    ]

    assert [
        "got 4 steady steps in the baseline, expected at least 5; give the marker more steps, as in steps=10",
        "got 4 steady steps in this run, expected at least 5; give the marker more steps, as in steps=10",
    ] == [verdict.reason for verdict in verdicts]
    assert all(verdict.is_red for verdict in verdicts)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"clock_reasons": ("hw_slowdown", "hw_thermal_slowdown")},
            "the card was throttled (hw_slowdown, hw_thermal_slowdown)",
        ),
        ({"other_process_count": 1}, "other processes computed on the card"),
    ],
)
def test_void_steps_are_told(fields: dict[str, Any], reason: str) -> None:
    """Steps on a throttled or a shared card do not count, and the reason says how many there were and why."""
    void = samples.measurement(steps=(samples.step(1.0, sensors=samples.sensors(**fields)),) * 10)

    verdict = gate(baseline(*around(1.0))).judge(void, CARD)

    assert (
        f"got 0 steady steps in this run, expected at least 5; 10 steps are void: {reason}; "
        "give the marker more steps, as in steps=10"
    ) == verdict.reason
    assert verdict.is_red


def test_a_round_with_a_void_side_does_not_count() -> None:
    """Both sides of a round need a steady step."""
    void = samples.measurement(steps=(samples.step(1.0, sensors=samples.sensors(other_process_count=2)),))
    rounds = (*paired(*[1.0] * (FEWEST_PAIRS - 1)).rounds, (samples.timed(1.0), void))

    verdict = gate(PairedRuns(rounds=rounds)).judge(samples.timed(1.0), CARD)

    assert (
        "got 7 rounds with step times of both, expected at least 8; 1 steps are void: other processes computed on the card"
    ) == verdict.reason
    assert verdict.is_red


@pytest.mark.parametrize(("key", "value"), [("device", "emulated"), ("gpu", "NVIDIA A10G")])
def test_another_gpu_is_not_judged(key: str, value: str) -> None:
    """A baseline of another kind of device or another model of GPU says nothing."""
    environment = tuple((name, value if name == key else text) for name, text in REAL)

    verdict = judged_steps(1.0, 9.0, environment=environment)

    assert (Outcome.UNJUDGED, True) == (verdict.outcome, verdict.is_red)
    assert verdict.reason.startswith("the baseline says nothing about this: ")


def test_an_emulated_card_has_no_step_time() -> None:
    """The verdict is UNJUDGED and listed, and no test fails for it, whatever is required."""
    verdict = gate(EMULATED).judge(samples.measurement(), CARD)

    assert (Outcome.UNJUDGED, False) == (verdict.outcome, verdict.is_red)
    assert "there is no step time on an emulated card; it is judged where the test runs on a GPU" == verdict.reason


def test_no_baseline() -> None:
    """A missing baseline is red where it is required."""
    verdicts = [
        gate(NoBaseline(reason="none", required=required)).judge(samples.timed(1.0), CARD) for required in (False, True)
    ]

    assert [("none", False), ("none", True)] == [(verdict.reason, verdict.is_red) for verdict in verdicts]


def test_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without scipy the verdict is UNJUDGED with the line that installs it, and red."""
    monkeypatch.setitem(sys.modules, "scipy", None)

    verdict = judged_pairs(*[1.0] * 8)

    assert (Outcome.UNJUDGED, True) == (verdict.outcome, verdict.is_red)
    assert (
        "scipy: not installed, expected for step times; install it: pip install 'pytest-vramguard[stats]'"
    ) == verdict.reason


@pytest.mark.parametrize(
    ("reading", "outcome", "reason"),
    [
        (samples.out_of_memory(), Outcome.FAIL, "out of memory in phase 'load': no step time to compare"),
        (samples.not_measured("no card"), Outcome.UNJUDGED, "no card"),
    ],
)
def test_no_measurement(reading: Any, outcome: Outcome, reason: str) -> None:
    """A full card fails, and what was not measured is not judged."""
    verdict = gate(paired(*[1.0] * 8)).judge(reading, CARD)

    assert (outcome, reason, True) == (verdict.outcome, verdict.reason, verdict.is_red)


def test_steps_without_time_are_void() -> None:
    """Events without time between them, as a step without work has, say nothing."""
    reading = samples.timed(0.0, 1.0)

    assert isinstance(reading, Measurement)
    assert ["no time between the events"] == [step.void_reason for step in reading.void_steps]
