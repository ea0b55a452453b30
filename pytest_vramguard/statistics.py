"""Statistics of step times: where a series has warmed up, and how far apart two are, with an interval that has to be believed.

The interval is that of Hodges and Lehmann for the logarithm of the ratio: the estimate is the median of all averages of two
pairs (or of all differences between two series), and the interval holds every shift that Wilcoxon's test does not reject. It
takes no distribution for granted, and outliers, which step times have to one side alone, move it little.
Source: Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 3rd edition, sections 3.2-3.3 and 4.2-4.3. The tests
are scipy's, which is imported when an interval is asked for.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import combinations_with_replacement
from math import exp, log
from statistics import median, quantiles
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE: Final = 0.99
"""Of each interval. A comparison looks at its rounds twice at most, so that what lies exactly on a limit is found beyond it in
one of 100 cases at most: 0.5 % a side and look."""
_A_SIDE: Final = (1 - CONFIDENCE) / 2
FEWEST_PAIRS: Final = 8
"""Pairs that such an interval needs: all of fewer than 8 fall on one side by chance more often (2**-8 is 0.4 %)."""
MOST_ROUNDS: Final = 16
"""Pairs of the second look, unless the user says otherwise."""
FEWEST_SAMPLES: Final = 5
"""Steps of each series that it needs where nothing is paired: one of 252 orders of 5 and 5 has all of one series first."""
MOST_SAMPLES: Final = 300
"""Steps of a series that are compared; of more, as many are taken evenly."""
FEWEST_TO_WARM_UP: Final = 8
"""Steps of a series in which a warm-up is looked for."""
FAR_OUT: Final = 3
"""Interquartile ranges above the upper quartile from where a value is far out. Source: Tukey, Exploratory Data Analysis, 2D."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RatioInterval:
    """How much longer one series takes than another: 1.1 is a tenth longer."""

    ratio: float
    low: float
    high: float
    """Ends of the interval of `CONFIDENCE`."""


def intervals_can_be_had() -> bool:
    """Return whether scipy is installed, without which there is no interval."""
    return find_spec("scipy") is not None


def warmup_count(seconds: Sequence[float]) -> int:
    """Return how many of the first steps are still warming up: each is far out of the steps of the second half.

    At most the first half is; of fewer than `FEWEST_TO_WARM_UP` steps none is.
    """
    if len(seconds) < FEWEST_TO_WARM_UP:
        return 0
    early, late = seconds[: len(seconds) // 2], seconds[len(seconds) // 2 :]
    lower, _, upper = quantiles(late, n=4, method="inclusive")
    fence_seconds = upper + FAR_OUT * (upper - lower)
    return next((index for index, step in enumerate(early) if step <= fence_seconds), len(early))


def ratio_of_pairs(pairs: Sequence[tuple[float, float]]) -> RatioInterval:
    """Return how much longer the second of each pair is than the first; all are above 0.

    Raises:
        ValueError: there are fewer than `FEWEST_PAIRS` pairs.
        ModuleNotFoundError: scipy is not installed.
    """
    shifts = [log(now / before) for before, now in pairs]
    averages = [(one + other) / 2 for one, other in combinations_with_replacement(shifts, 2)]
    return _interval(averages, _left_out_of_pairs(len(pairs)))


def ratio_of_samples(before: Sequence[float], now: Sequence[float]) -> RatioInterval:
    """Return how much longer `now` is than `before`, two series above 0 that have nothing to do with each other.

    Raises:
        ValueError: there are so few that no interval of `CONFIDENCE` exists; `FEWEST_SAMPLES` of each are enough.
        ModuleNotFoundError: scipy is not installed.
    """
    before, now = _evenly(before), _evenly(now)
    differences = [log(later / earlier) for earlier in before for later in now]
    return _interval(differences, _left_out_of_samples(len(before), len(now)))


def _interval(shifts: list[float], left_out: int) -> RatioInterval:
    """Return the median of `shifts` and its interval, which leaves out as many at each end."""
    if left_out == 0:
        message = f"got {len(shifts)} shifts, expected more: there is no interval of {CONFIDENCE:.0%}"
        raise ValueError(message)
    shifts.sort()
    return RatioInterval(ratio=exp(median(shifts)), low=exp(shifts[left_out - 1]), high=exp(shifts[-left_out]))


@cache
def _left_out_of_pairs(count: int) -> int:
    """Return how many of the averages of `count` pairs the interval leaves out at each end."""
    from scipy.stats import wilcoxon

    def chance(rank_sum: int) -> float:
        """Return how likely the ranks of what is above 0 add up to `rank_sum` or less where nothing changed."""
        signed = list(range(1, count + 1))
        for index in reversed(range(count)):
            if signed[index] <= rank_sum:
                rank_sum -= signed[index]
            else:
                signed[index] *= -1
        return float(wilcoxon(signed, alternative="less").pvalue)

    return bisect_right(range(count * (count + 1) // 2), _A_SIDE, key=chance)


@cache
def _left_out_of_samples(before_count: int, now_count: int) -> int:
    """Return how many of the differences of two series the interval leaves out at each end."""
    from scipy.stats import mannwhitneyu

    def chance(wins: int) -> float:
        """Return how likely `now` is above `before` in `wins` of all comparisons or fewer where nothing changed."""
        whole, part = divmod(wins, before_count)
        won = [before_count] * whole + [part] + [0] * now_count
        now = [beaten + 0.5 + index / (4 * now_count) for index, beaten in enumerate(won[:now_count])]
        return float(mannwhitneyu(now, range(1, before_count + 1), alternative="less").pvalue)

    return bisect_right(range(before_count * now_count), _A_SIDE, key=chance)


def _evenly(samples: Sequence[float]) -> Sequence[float]:
    return samples[:: -(-len(samples) // MOST_SAMPLES)] if samples else samples
