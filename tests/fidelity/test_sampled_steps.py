"""The steps that stand for all of a MetaMathQA run."""

from __future__ import annotations

import random
import statistics

import pytest

from tests.fidelity.lengths import stream
from tests.fidelity.sampled_steps import (
    FIRST_VALIDATED,
    VALIDATIONS,
    SampledSteps,
    reserved_after_every_step,
    reserved_after_every_tenth,
    sampled,
)


@pytest.fixture(scope="module")
def sample() -> SampledSteps:
    """Return the steps of a run that answers questions every 250 steps."""
    return sampled(stream(), 250)


def test_questions_are_answered_where_the_cache_is_emptied(sample: SampledSteps) -> None:
    """Each sampled answer follows the last of ten steps, and the cache is emptied there."""
    numbers = [number for number, _ in sample.numbered]

    assert VALIDATIONS == len(sample.validated_after)
    assert set(sample.validated_after) <= set(numbers)
    assert all(number % 10 == 0 for number in sample.validated_after)


def test_what_stands_before_answers_is_as_long_as_in_the_median_of_all_orders(sample: SampledSteps) -> None:
    """Of the ten buckets that an answer divides, in many orders, the longest batches are as often longer as shorter."""
    sampled_lengths = [block[0].longest for block in sample.blocks[FIRST_VALIDATED : FIRST_VALIDATED + VALIDATIONS]]
    firsts = [sample.stream.bucket(number)[0].longest for number in range(250)]
    draws = [sorted(random.Random(seed).sample(firsts, VALIDATIONS)) for seed in range(2000)]  # noqa: S311 # orders, no secrets

    shares = [statistics.fmean(draw[place] < sampled_lengths[place] for draw in draws) for place in range(VALIDATIONS)]

    assert [0.5] * VALIDATIONS == pytest.approx(shares, abs=0.06)


def test_a_short_run_has_as_many_answers_as_it_has() -> None:
    """A run of 3000 steps that answers every 500 does so six times."""
    assert 6 == len(sampled(stream(3000), 500).validated_after)


def test_the_cache_is_emptied_after_each_block(sample: SampledSteps) -> None:
    """As many steps have a number at which ten are full as there are blocks, and the longest batch of all is among them."""
    assert len(sample.blocks) == sum(number % 10 == 0 for number, _ in sample.numbered)
    assert max(step.longest for step in sample.stream.steps) in [step.longest for step in sample.steps]


def test_reserved_of_steps_between_the_sampled_ones(sample: SampledSteps) -> None:
    """What grows with the tokens of a batch and of the one before is found for every step of the run."""
    formers = [0, *(step.longest for step in sample.steps[:-1])]
    reserved = [1e9 + 2e6 * step.longest + 3e5 * former for step, former in zip(sample.steps, formers, strict=True)]

    found = reserved_after_every_step(reserved, sample)

    assert [1e9 + 2e6 * step.longest + 3e5 * step.former for step in sample.stream.steps] == pytest.approx(found)


def test_reserved_of_tens_between_the_sampled_ones(sample: SampledSteps) -> None:
    """What grows with the longest batch since the cache was emptied is found for every step of the run."""
    reserved = [1e9 + 2e6 * block[0].longest for block in sample.blocks for _ in block]
    steps = sample.stream.steps

    found = reserved_after_every_tenth(reserved, sample)

    assert [1e9 + 2e6 * steps[index - index % 10].longest for index in range(len(steps))] == pytest.approx(found)


def test_tens_that_begin_alike_take_turns() -> None:
    """Where samples are cut and many tens begin with the same length, all that was sampled of it comes in turn."""
    sample = sampled(stream(cut_tokens=300), 250)
    beginnings = [block[0].longest for block in sample.blocks for _ in block]
    numbers = [number for number, block in enumerate(sample.blocks) for _ in block]

    found = reserved_after_every_tenth([float(number) for number in numbers], sample)

    sampled_of_cut = {number for number, longest in zip(numbers[1:], beginnings[1:], strict=True) if longest == 300}
    assert len(sampled_of_cut) > 1
    assert sampled_of_cut == {
        value for start, value in enumerate(found) if sample.stream.steps[start - start % 10].longest == 300
    }
