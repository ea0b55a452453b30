"""The work of a step as text: counts and sizes, and where the host waited."""

from __future__ import annotations

import pytest

from pytest_vramguard.baseline import Comparison
from pytest_vramguard.reading import SyncSite, Work
from pytest_vramguard.render.baselines import render_difference, render_whole
from pytest_vramguard.render.terminal import failure_text
from pytest_vramguard.render.work import work_lines
from pytest_vramguard.verdict import Outcome
from tests import samples

LINES = [
    "a steady step: launches 1,200, syncs 3, copied 8.0 KiB, driver allocations 0.5, FLOP 7.5e+09",
    "  syncs: src/train.py:31 (total += loss.item(); 2 a step), "
    "train.py:12 (trainer.train() via transformers/trainer.py:1911; 1 a step)",
]


def test_figures_are_of_one_step() -> None:
    """Sums are divided by the steps; the places where the host waited stand below."""
    assert LINES == list(work_lines(samples.work()))


def test_many_places_are_counted() -> None:
    """Three places are named, the others are a number."""
    syncs = tuple(SyncSite(place=f"a.py:{line}", code=None, via=None, count=2) for line in range(5))

    assert (
        "  syncs: a.py:0 (1 a step), a.py:1 (1 a step), a.py:2 (1 a step), 2 more places"
        == list(work_lines(samples.work(syncs=syncs)))[1]
    )


@pytest.mark.parametrize("work", [None, samples.work(step_count=0)])
def test_without_a_counted_step_there_is_nothing_to_say(work: Work | None) -> None:
    """A real card, and a case of one step, have no such line."""
    assert [] == list(work_lines(work))


def test_a_failure_shows_the_work() -> None:
    """The account of a case names counts as what they are, in the verdict and below the steps."""
    verdict = samples.verdict(
        gate="work", metric="syncs a steady step", outcome=Outcome.FAIL, observed=3.0, limit=0.0, unit="syncs", reason="so"
    )
    case = samples.case(reading=samples.measurement(work=samples.work()), verdicts=(verdict,))

    lines = failure_text(case).splitlines()

    assert ["work FAIL: syncs a steady step: observed 3 syncs, limit 0 syncs", "  so"] == lines[1:3]
    assert ["steps: 4 ran, none timed", *LINES] == lines[-3:]


def test_a_baseline_shows_the_work() -> None:
    """All of a baseline has it, and a difference has both where they are not the same."""
    former = samples.baseline(measurement=samples.measurement(work=samples.work()))
    now = samples.measurement(work=samples.work(flops=1, syncs=()))

    whole = render_whole([former]).splitlines()
    difference = render_difference(Comparison(baseline=former, measurement=now, environment=former.environment))

    assert [f"  {line}" for line in LINES] == [line for line in whole if " a step" in line or "a steady step" in line]
    assert [
        f"  was: {LINES[0]}",
        f"  was: {LINES[1].strip()}",
        "  is:  a steady step: launches 1,200, syncs 0, copied 8.0 KiB, driver allocations 0.5, FLOP 1",
    ] == difference.splitlines()[-3:]
