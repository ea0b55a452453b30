"""The lengths of the MetaMathQA runs, which nobody recorded: one distribution for all runs.

Known: 20,000 samples in file order, buckets of 80 sorted long to short, batches of 4, and 4,198,051 tokens in all, which every
run reports. Fitted on the run lora/llama-3.2-3B-rank32 of torch 2.7.1 alone: how wide the lengths spread (by the 99th
percentile of the memory reserved) and the longest batch (by its maximum).
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

Batch: TypeAlias = tuple[int, ...]

TOKENS: Final = 4_198_051
"""Unpadded tokens of 5000 steps and one more for each sample: `train_total_tokens_plus_eos` of every run."""
STEPS: Final = 5000
SAMPLES_PER_BATCH: Final = 4
BATCHES_PER_BUCKET: Final = 20
SPREAD: Final = 0.32
"""Fitted: standard deviation of the logarithm of a sample's length."""
LONGEST_TOKENS: Final = 701
"""Fitted: the longest sample."""
SHORTEST_TOKENS: Final = 40
"""The template alone has about twenty tokens, and a question some more."""
SEED: Final = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A batch and where it stands."""

    batch: Batch
    bucket: int
    place: int
    """In the bucket, from 0."""
    former: int
    """Tokens of the longest sample of the batch before."""

    @property
    def longest(self) -> int:
        """Tokens to which the batch is padded."""
        return max(self.batch)


@cache
def stream() -> tuple[Step, ...]:
    """Return every step of a run."""
    lengths = _lengths()
    per_bucket = SAMPLES_PER_BATCH * BATCHES_PER_BUCKET
    steps: list[Step] = []
    for first in range(0, len(lengths), per_bucket):
        bucket = sorted(lengths[first : first + per_bucket], reverse=True)
        for place in range(BATCHES_PER_BUCKET):
            batch = tuple(bucket[place * SAMPLES_PER_BATCH : (place + 1) * SAMPLES_PER_BATCH])
            former = steps[-1].longest if steps else 0
            steps.append(Step(batch=batch, bucket=first // per_bucket, place=place, former=former))
    return tuple(steps)


def _lengths() -> list[int]:
    """Return the length of each sample: log-normal, scaled so that the known number of tokens comes out."""
    generator = random.Random(SEED)  # noqa: S311 # a sample of lengths, no secret
    count = STEPS * SAMPLES_PER_BATCH
    deviates = [math.exp(SPREAD * generator.gauss(0, 1)) for _ in range(count)]
    low, high = 50.0, 500.0
    while high - low > 1e-3:
        scale = (low + high) / 2
        lengths = [max(SHORTEST_TOKENS, min(LONGEST_TOKENS, round(scale * deviate))) for deviate in deviates]
        low, high = (low, scale) if sum(lengths) + count > TOKENS else (scale, high)
    return lengths


def bucket(number: int) -> tuple[Step, ...]:
    """Return the steps of a bucket."""
    return stream()[number * BATCHES_PER_BUCKET : (number + 1) * BATCHES_PER_BUCKET]


@cache
def longest_bucket() -> int:
    """Return the bucket with the longest batch."""
    return max(stream(), key=lambda step: step.longest).bucket


@cache
def typical_buckets(count: int) -> tuple[int, ...]:
    """Return buckets from even places of the order by their longest batch, the longest bucket left out."""
    order = sorted((number for number in range(STEPS // BATCHES_PER_BUCKET) if number != longest_bucket()),
                   key=lambda number: bucket(number)[0].longest)  # fmt: skip
    return tuple(order[(2 * index + 1) * len(order) // (2 * count)] for index in range(count))
