"""What the work gates decide about the counts of a step, and what they say when they cannot."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_vramguard.allowance import parse_count_allowance
from pytest_vramguard.gates import NoBaseline, WorkGate, WorkGrowthGate
from pytest_vramguard.reading import SyncSite, Work, WorkName
from pytest_vramguard.verdict import Outcome, Verdict
from tests import samples

CARD = samples.card()
ITEM = SyncSite(place="src/train.py:31", code="total += loss.item()", via=None, count=4)
NORM = SyncSite(place="src/train.py:40", code="norm = clip(model)", via="torchtune/clip.py:7", count=2)


def growth(figure: WorkName, limit: str, now: Work | None, *, before: Work | None = None, **fields: Any) -> Verdict:
    """Return the verdict of the gate on `now` against a baseline of `before`, or on what `fields` say."""
    defaults = {
        "reference": samples.baseline(measurement=samples.measurement(work=before or samples.work())),
        "baseline_required": False,
        "environment": samples.baseline().environment,
    }
    gate = WorkGrowthGate(figure=figure, allowance=parse_count_allowance(limit), **{**defaults, **fields})
    return gate.judge(samples.measurement(work=now), CARD)


@pytest.mark.parametrize(("most", "outcome"), [(2, Outcome.FAIL), (3, Outcome.PASS), (4, Outcome.PASS)])
def test_a_limit_is_of_an_average_step(most: int, outcome: Outcome) -> None:
    """Six syncs in two steps are three a step; equal passes."""
    verdict = WorkGate(figure="syncs", most=most).judge(samples.measurement(work=samples.work()), CARD)

    assert (outcome, 3, most) == (verdict.outcome, verdict.observed, verdict.limit)


def test_what_a_failed_limit_says() -> None:
    """Too many syncs are named with their places, source lines and rates, the most frequent first."""
    verdict = WorkGate(figure="syncs", most=0).judge(samples.measurement(work=samples.work(syncs=(NORM, ITEM))), CARD)

    assert verdict == Verdict(
        gate="work",
        metric="syncs a steady step",
        outcome=Outcome.FAIL,
        observed=3.0,
        limit=0.0,
        unit="syncs",
        reason="3 a step, in 2 steady steps; max_syncs allows 0",
        causes=(
            "syncs: src/train.py:31 (total += loss.item(); 2 a step), "
            "src/train.py:40 (norm = clip(model) via torchtune/clip.py:7; 1 a step)",
        ),
    )


def test_a_part_of_a_driver_allocation_a_step_is_too_much_for_none() -> None:
    """One allocation in two steps is half a one, which is more than 0 and not more than 1."""
    verdicts = [
        WorkGate(figure="driver_allocations", most=most).judge(samples.measurement(work=samples.work()), CARD)
        for most in (0, 1)
    ]

    assert [(Outcome.FAIL, 0.5, ()), (Outcome.PASS, 0.5, ())] == [
        (verdict.outcome, verdict.observed, verdict.causes) for verdict in verdicts
    ]


@pytest.mark.parametrize(
    ("figure", "fields"),
    [
        ("launches", {"kernel_launches": 2002}),
        ("launches", {"library_calls": 402}),
        ("syncs", {"syncs": (*samples.work().syncs, NORM)}),
        ("copied", {"bytes_to_device": 16 * 1024 + 2}),
        ("copied", {"bytes_to_host": 22}),
        ("flops", {"flops": 7_500_000_001}),
    ],
)
def test_one_more_a_step_is_growth(figure: WorkName, fields: dict[str, Any]) -> None:
    """One more than the baseline fails where none is allowed, and passes where one is; fewer are no growth."""
    grown = samples.work(**fields)

    outcomes = [growth(figure, limit, grown).outcome for limit in ("0", "1")]

    assert [Outcome.FAIL, Outcome.PASS] == outcomes
    assert Outcome.PASS is growth(figure, "0", samples.work(), before=grown).outcome


def test_steps_of_another_number_are_compared_step_by_step() -> None:
    """As much work a step is no growth, however many steps were counted."""
    twice = samples.work(step_count=4, kernel_launches=4000, library_calls=800)

    verdict = growth("launches", "0", twice)

    assert (Outcome.PASS, "1,200 a step is exactly the baseline") == (verdict.outcome, verdict.reason)


def test_what_grown_launches_say() -> None:
    """The reason has both figures and what is allowed; the causes what they are the sum of, and what else changed."""
    environment = (*samples.baseline().environment, ("recipe", "12ab"))

    verdict = growth("launches", "1%", samples.work(kernel_launches=2100), environment=environment)

    assert (Outcome.FAIL, 1250, 1212, "launches") == (verdict.outcome, verdict.observed, verdict.limit, verdict.unit)
    assert "1,250 a step is 50 (4.2 %) over the 1,200 of the baseline; 1% allows 12" == verdict.reason
    assert (
        "was: 1,000 kernels, 200 library calls",
        "is: 1,050 kernels, 200 library calls",
        "environment: recipe none -> 12ab",
    ) == verdict.causes


def test_new_syncs_are_named() -> None:
    """Places that the baseline has are not named again, also where their lines have moved; those that are gone are."""
    moved = SyncSite(place="src/train.py:33", code=ITEM.code, via=None, count=4)
    before = samples.work(syncs=(ITEM, SyncSite(place="a.py:1", code="print(x)", via=None, count=1)))
    now = samples.work(syncs=(moved, NORM, SyncSite(place="b.py:9", code=None, via=None, count=2)))

    verdict = growth("syncs", "0", now, before=before)

    assert (
        "new syncs: src/train.py:40 (norm = clip(model) via torchtune/clip.py:7; 1 a step), b.py:9 (1 a step)",
        "gone syncs: a.py:1 (print(x); 0.5 a step)",
        "environment: unchanged",
    ) == verdict.causes


def test_a_sync_that_became_more_frequent_is_named_with_the_rest() -> None:
    """A place of the baseline that waits more often is named with what is new of it."""
    verdict = growth("syncs", "0", samples.work(syncs=(SyncSite(**{**_fields(ITEM), "count": 10}),)), before=samples.work())

    assert "new syncs: src/train.py:31 (total += loss.item(); 3 a step)" == verdict.causes[0]


def test_many_new_syncs_are_counted() -> None:
    """Five places are named, the others are a number."""
    syncs = tuple(SyncSite(place=f"a.py:{line}", code=None, via=None, count=2) for line in range(8))

    causes = growth("syncs", "0", samples.work(syncs=syncs)).causes

    assert causes[0].endswith("a.py:4 (1 a step), 3 more places")


@pytest.mark.parametrize(
    ("reading", "outcome", "reason", "is_red"),
    [
        (samples.not_measured("no card"), Outcome.UNJUDGED, "no card", True),
        (samples.out_of_memory(), Outcome.FAIL, "out of memory in phase 'load': no steady step was counted", True),
        (
            samples.measurement(),
            Outcome.UNJUDGED,
            "nobody counts the work of a real card; judge it on an emulated one: --vram-device emulated",
            False,
        ),
        (
            samples.measurement(work=samples.work(step_count=0)),
            Outcome.UNJUDGED,
            "got no step after the first, expected at least one; put vram.step around each, or train a recipe for two steps",
            True,
        ),
    ],
)
def test_without_a_counted_step(reading: Any, outcome: Outcome, reason: str, is_red: bool) -> None:  # noqa: FBT001
    """Neither gate passes; a real card, which nobody counts, is listed without failing the test."""
    gates = (
        WorkGate(figure="syncs", most=0),
        WorkGrowthGate(
            figure="syncs",
            allowance=parse_count_allowance("0"),
            reference=samples.baseline(),
            baseline_required=True,
            environment=(),
        ),
    )
    verdicts = [gate.judge(reading, CARD) for gate in gates]

    assert [(outcome, reason, is_red)] * 2 == [(verdict.outcome, verdict.reason, verdict.is_red) for verdict in verdicts]


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("work", [None, samples.work(step_count=0)])
def test_a_baseline_without_work_is_as_good_as_none(required: bool, work: Work | None) -> None:  # noqa: FBT001
    """It is older than the counting, so it is to be accepted anew, and red where a baseline is required."""
    reference = samples.baseline(measurement=samples.measurement(work=work))

    verdict = growth("syncs", "0", samples.work(), reference=reference, baseline_required=required)

    assert (Outcome.UNJUDGED, required) == (verdict.outcome, verdict.is_red)
    assert "the baseline has no counted step; next step: accept one with pytest --vram-accept" == verdict.reason


@pytest.mark.parametrize("required", [False, True])
def test_no_baseline_is_not_judged(required: bool) -> None:  # noqa: FBT001
    """Without a baseline the verdict is UNJUDGED with the reason and the figure, and red where one is required."""
    verdict = growth("syncs", "0", samples.work(), reference=NoBaseline(reason="none there", required=required))

    assert (Outcome.UNJUDGED, "none there", required, 3) == (
        verdict.outcome,
        verdict.reason,
        verdict.is_red,
        verdict.observed,
    )


def test_another_gpu_is_not_judged() -> None:
    """A baseline of another GPU gives UNJUDGED with the key, however little work there is."""
    environment = tuple((name, "NVIDIA A10G" if name == "gpu" else text) for name, text in samples.baseline().environment)

    verdict = growth("syncs", "0", samples.work(syncs=()), environment=environment)

    assert (Outcome.UNJUDGED, True) == (verdict.outcome, verdict.is_red)
    assert verdict.reason.startswith("the baseline says nothing about this: gpu was 'NVIDIA GeForce RTX 3060' and is ")


def _fields(site: SyncSite) -> dict[str, Any]:
    return {name: getattr(site, name) for name in SyncSite.__dataclass_fields__}
