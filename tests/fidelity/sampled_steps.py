"""The few steps that stand for all of a MetaMathQA run, and what memory all of them would have reserved.

They are the first batch, one whole typical bucket, three batches each of the tens before questions are answered, which are as
long as they are in the median of all orders of the samples, and of other buckets, and the half with the long batches of the
bucket that has the longest of all; the cache is emptied between them. What is taken over all steps comes from a curve through
the sampled ones, applied to the lengths of all. Allocated is a straight line over the padded tokens, since what lives after a
step are its outputs. Reserved, where the cache was emptied after every step, are lines between the sampled numbers of tokens,
after what the outputs of the step before add, which live until the forward pass is through; where it was emptied after every
tenth, lines over the longest batch since then, for each place in the ten.
"""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Final, TypeAlias

from tests.fidelity.fits import least_squares, line_through, median_ranks
from tests.fidelity.lengths import BATCHES_PER_BUCKET, FIRST_TOKENS, SAMPLES_PER_BATCH, Batch, Step, Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

Block: TypeAlias = tuple[Step, ...]

OTHER_BUCKETS: Final = (0.992, 0.984, 0.98, 0.976, 0.968, 0.65, 0.35, 0.1)
"""Buckets of which three batches are run, by their place in the order of their longest batches. Most lie about the 99th
percentile, since the reserved memory of some methods jumps from length to length."""
FIRST_NUMBER: Final = 2000
"""Number of the first sampled step: methods that change their ranks on the way do so by the number."""
VALIDATIONS: Final = 10
"""Of the answers to questions on the way, how many are sampled at most: those after the longest batches."""
FIRST_VALIDATED: Final = 3
"""Place among the blocks of the first after which questions are answered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampledSteps:
    """Steps of a run in blocks between which the cache is emptied; the first is the first batch alone."""

    stream: Stream
    blocks: tuple[Block, ...]

    @property
    def steps(self) -> list[Step]:
        """The steps in the order in which they are run."""
        return [step for block in self.blocks for step in block]

    @property
    def numbered(self) -> list[tuple[int, Batch]]:
        """The batches that are run, each with the number of its step: the last of a block has one at which ten are full."""
        return [
            (FIRST_NUMBER + 10 * index + (10 if place == len(block) else place), step.batch)
            for index, block in enumerate(self.blocks)
            for place, step in enumerate(block, start=1)
        ]

    @property
    def validated_after(self) -> list[int]:
        """Numbers of the steps after which questions are answered."""
        last = len(self.blocks) - len(OTHER_BUCKETS) - 1
        return [FIRST_NUMBER + 10 * (place + 1) for place in range(FIRST_VALIDATED, last)]


def sampled(stream: Stream, validated_every: int) -> SampledSteps:
    """Return the steps that stand for those of `stream`, of which every so many questions are answered.

    As in the whole run, a bucket's first batch follows the last and shortest of another. Mostly the first two and the last are
    run: after the second batch the reserved memory of ten grows no more.
    """
    typical, longest = stream.bucket_at(0.5), stream.bucket_at(1)
    validated = sorted(_validated(stream, validated_every), key=lambda steps: steps[0].longest)[-VALIDATIONS:]
    parts = ((*block[:2], block[-1]) for block in (*validated, *map(stream.bucket_at, OTHER_BUCKETS)))
    first = Step(batch=(FIRST_TOKENS,) * SAMPLES_PER_BATCH, former=0)
    return SampledSteps(stream=stream, blocks=((first,), typical[:10], typical[10:], *parts, longest[:10]))


def _validated(stream: Stream, validated_every: int) -> list[Block]:
    """Return ten steps for each time that questions are answered after such.

    Which samples stand before an answer is luck. So the tens are not those of one order: the longest of them is as long as the
    longest is in half of all orders, the next one likewise, and so on.
    """
    answers = range(validated_every, len(stream.steps) + 1, validated_every)
    places = Counter((step - 1) // 10 * 10 % BATCHES_PER_BUCKET for step in answers)
    return [
        stream.bucket_at(share, place)[place : place + 10] for place, count in places.items() for share in median_ranks(count)
    ]


def reserved_after_every_step(reserved: Sequence[float], sample: SampledSteps) -> list[float]:
    """Return the memory reserved after each of all steps, where the cache was emptied after each.

    What a token of the step before adds comes from a parabola with it through all sampled steps.
    """
    steps = sample.steps
    formers = [0.0, *(float(step.longest) for step in steps[:-1])]
    rows = [[1.0, step.longest, step.longest**2, former] for step, former in zip(steps, formers, strict=True)]
    per_former = least_squares(rows[1:], reserved[1:])[-1]
    found: dict[int, list[float]] = {}
    for step, value, former in zip(steps, reserved, formers, strict=True):
        found.setdefault(step.longest, []).append(value - per_former * former)
    points = [(float(length), statistics.fmean(values)) for length, values in sorted(found.items())]
    return [line_through(points, step.longest) + per_former * step.former for step in sample.stream.steps]


def reserved_after_every_tenth(reserved: Sequence[float], sample: SampledSteps) -> list[float]:
    """Return the memory reserved after each of all steps, where the cache was emptied after every tenth.

    Where several blocks begin with a batch of the same length, as with samples that are cut, tens of that length take theirs in
    turn.
    """
    of_length: dict[int, list[list[float]]] = {}
    first = 1
    for block in sample.blocks[1:]:
        values = list(reserved[first : first + len(block)])
        of_length.setdefault(block[0].longest, []).append(values + values[-1:] * (10 - len(values)))
        first += len(block)
    turns = {length: cycle(tens) for length, tens in of_length.items()}
    points = sorted((float(length), list(map(statistics.fmean, zip(*tens, strict=True)))) for length, tens in of_length.items())
    found: list[float] = []
    for start in range(0, len(sample.stream.steps), 10):
        longest = sample.stream.steps[start].longest
        if longest in turns:
            found += next(turns[longest])
        else:
            found += [line_through([(length, values[place]) for length, values in points], longest) for place in range(10)]
    return found
