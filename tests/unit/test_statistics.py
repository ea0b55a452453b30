"""Where a series of steps has warmed up, and how sure the ratio of two series is."""

from __future__ import annotations

import random
from math import exp

import pytest

from pytest_vramguard.statistics import (
    FEWEST_PAIRS,
    FEWEST_SAMPLES,
    MOST_SAMPLES,
    RatioInterval,
    ratio_of_pairs,
    ratio_of_samples,
    warmup_count,
)

STEADY = (1.00, 1.01, 0.99, 1.00, 1.02, 0.98, 1.01, 1.00)


@pytest.mark.parametrize(
    ("seconds", "count"),
    [
        ((), 0),
        (STEADY, 0),
        ((9.0, *STEADY), 1),
        ((9.0, 4.0, 2.0, *STEADY), 3),
        ((1.0, 9.0, *STEADY), 0),  # an outlier among steady steps
        ((9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0), 0),  # too short to tell
        ((5.0, 5.0, 5.0, 5.0, 1.0, 1.0, 1.0, 1.0), 4),  # at most the first half
        ((1.0,) * 8, 0),
        ((0.5, *STEADY), 0),  # a fast beginning is no warm-up
    ],
)
def test_warming_steps(seconds: tuple[float, ...], count: int) -> None:
    """The first steps count as long as each is far out of the second half."""
    assert count == warmup_count(seconds)


def test_steady_steps_seldom_look_like_a_warm_up() -> None:
    """Of 1000 series of 20 steps that do nothing but vary, at most 2 % lose a step."""
    chance = random.Random(1)  # noqa: S311 (no secret)
    lost = sum(warmup_count([exp(chance.gauss(0, 0.01)) for _ in range(20)]) > 0 for _ in range(1000))

    assert lost <= 20


@pytest.mark.parametrize(("count", "left_out"), [(8, 1), (10, 4), (12, 8), (16, 20)])
def test_pairs_against_the_published_table(count: int, left_out: int) -> None:
    """The interval ends where the published critical values of the signed rank test (two sides, 1 %) say.

    Source: Wilcoxon and Wilcox, Some Rapid Approximate Statistical Procedures, table 2: 0, 3, 7 and 19, which are rejected too.
    """
    shifts = [index**2 / 1000 for index in range(count)]
    averages = sorted((one + other) / 2 for index, one in enumerate(shifts) for other in shifts[index:])

    found = ratio_of_pairs([(1.0, exp(shift)) for shift in shifts])

    assert exp(averages[left_out - 1]) == pytest.approx(found.low)
    assert exp(averages[-left_out]) == pytest.approx(found.high)


@pytest.mark.parametrize(("count", "left_out"), [(5, 1), (6, 3), (8, 8)])
def test_samples_against_the_published_table(count: int, left_out: int) -> None:
    """The interval ends where the published critical values of the rank sum test (two sides, 1 %) say: 0, 2 and 7."""
    before = [exp(index**2 / 100) for index in range(count)]
    now = [exp(0.1 + index**2 / 99) for index in range(count)]
    ratios = sorted(later / earlier for earlier in before for later in now)

    found = ratio_of_samples(before, now)

    assert ratios[left_out - 1] == pytest.approx(found.low)
    assert ratios[-left_out] == pytest.approx(found.high)


def test_equal_shifts_leave_no_doubt() -> None:
    """If each pair differs by a tenth, so do both ends of the interval."""
    found = ratio_of_pairs([(float(index), index * 1.1) for index in range(1, 9)])

    assert (1.1, 1.1, 1.1) == pytest.approx((found.ratio, found.low, found.high))


@pytest.mark.parametrize("seed", range(5))
def test_a_factor_moves_the_whole_interval(seed: int) -> None:
    """If every step of now takes longer by a factor, so do the ratio and both ends; the ratio lies between them."""
    chance = random.Random(seed)  # noqa: S311 (no secret)
    factor = chance.uniform(0.5, 2)
    pairs = [(chance.uniform(0.1, 10), chance.uniform(0.1, 10)) for _ in range(8 + seed)]

    found = ratio_of_pairs(pairs)
    moved = ratio_of_pairs([(before, now * factor) for before, now in pairs])

    assert found.low <= found.ratio <= found.high
    assert [end * factor for end in (found.ratio, found.low, found.high)] == pytest.approx([moved.ratio, moved.low, moved.high])


def test_an_outlier_moves_little() -> None:
    """One of 16 pairs that takes ten times as long does not move the interval beyond the others."""
    pairs = [(1.0, 1.0 + index / 1000) for index in range(15)]

    assert ratio_of_pairs([*pairs, (1.0, 10.0)]).high < 1.015


def test_too_few_pairs_or_samples() -> None:
    """Without an interval of that confidence there is none."""
    with pytest.raises(ValueError, match="there is no interval of 99%"):
        ratio_of_pairs([(1.0, 2.0)] * (FEWEST_PAIRS - 1))
    with pytest.raises(ValueError, match="there is no interval of 99%"):
        ratio_of_samples([1.0] * (FEWEST_SAMPLES - 1), [2.0] * (FEWEST_SAMPLES - 1))


def test_long_series_are_taken_evenly() -> None:
    """A series of any length is compared in a moment, from all over it."""
    rising = [1 + index / 1_000_000 for index in range(100 * MOST_SAMPLES)]

    assert RatioInterval(ratio=1.0, low=1.0, high=1.0) == ratio_of_samples([1.0] * 5, [1.0] * 100_000)
    assert 1.015 == pytest.approx(ratio_of_samples([1.0] * 50, rising).ratio, rel=1e-3)


def test_what_lies_on_the_limit_is_seldom_found_beyond_it() -> None:
    """Of 2000 sets of 8 pairs around a true ratio of 1.1 at most 0.5 % have an interval that lies above it, as stated."""
    chance = random.Random(2)  # noqa: S311 (no secret)
    beyond = sum(
        ratio_of_pairs([(1.0, 1.1 * exp(chance.gauss(0, 0.02))) for _ in range(FEWEST_PAIRS)]).low > 1.1 for _ in range(2000)
    )

    assert 0 < beyond <= 10
