"""The lengths of the MetaMathQA runs, which nobody recorded: one distribution for all runs.

Known: 20,000 samples in file order, buckets of 80 sorted long to short, batches of 4, and 4,198,051 tokens in all, which every
run reports. Fitted on lora/llama-3.2-3B-rank32 alone: how wide the lengths spread and how they lean, by the average and the
99th percentile of the memory reserved, of torch 2.7.1 (each batch for itself) and of 2.9.0 (the longest of ten); and the
longest sample, by the largest reserved of torch 2.7.1. The first batch is the one thing that was fitted elsewhere.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist, fmean
from typing import Final, TypeAlias

Batch: TypeAlias = tuple[int, ...]

TOKENS: Final = 4_198_051
"""Unpadded tokens of 5000 steps and one more for each sample: `train_total_tokens_plus_eos` of every run."""
STEPS: Final = 5000
SAMPLES_PER_BATCH: Final = 4
BATCHES_PER_BUCKET: Final = 20
SPREAD: Final = 0.35
"""Fitted: how wide the lengths lie around the median, as a share of it."""
POWER: Final = 0.15
"""Fitted: the power of a length that is normally distributed; 1 would be symmetric, towards 0 it nears a log-normal tail."""
LONGEST_TOKENS: Final = 700
"""Fitted: the longest sample."""
FIRST_TOKENS: Final = 470
"""Fitted on full-finetuning with torch 2.9.0: the longest sample of the first batch. The first step makes the states of the
optimizer where its activations were, and what is left between them stays for the whole run. With 380 as much as 4 % less is
reserved."""
SHORTEST_TOKENS: Final = 40
"""The template alone has about twenty tokens, and a question some more."""
SEED: Final = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A batch and what stood before it."""

    batch: Batch
    former: int
    """Tokens of the longest sample of the batch before."""

    @property
    def longest(self) -> int:
        """Tokens to which the batch is padded."""
        return max(self.batch)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """The batches of a run, in order."""

    steps: tuple[Step, ...]

    @property
    def tokens_per_step(self) -> float:
        """Unpadded tokens and one more for each sample, on average."""
        return fmean(sum(step.batch) + len(step.batch) for step in self.steps)

    def bucket(self, number: int) -> tuple[Step, ...]:
        """Return the steps of a bucket."""
        return self.steps[number * BATCHES_PER_BUCKET : (number + 1) * BATCHES_PER_BUCKET]

    def bucket_at(self, share: float, place: int = 0) -> tuple[Step, ...]:
        """Return the bucket with a share of all below it, in the order by the batch at a place, where 0 is the longest."""
        buckets = map(self.bucket, range(len(self.steps) // BATCHES_PER_BUCKET))
        order = sorted(buckets, key=lambda bucket: bucket[place].longest)
        return order[round(share * (len(order) - 1))]


@cache
def stream(steps: int = STEPS, cut_tokens: int = LONGEST_TOKENS) -> Stream:
    """Return the first steps of the run, with samples cut at a length.

    Raises:
        ValueError: there are more steps than the known ones.
    """
    if steps > STEPS:
        raise ValueError(f"{steps} steps, expected at most {STEPS}: what follows has no known number of tokens")
    lengths = [min(length, cut_tokens) for length in _lengths()]
    per_bucket = SAMPLES_PER_BATCH * BATCHES_PER_BUCKET
    found: list[Step] = []
    for first in range(0, len(lengths), per_bucket):
        bucket = sorted(lengths[first : first + per_bucket], reverse=True)
        for place in range(BATCHES_PER_BUCKET):
            batch = tuple(bucket[place * SAMPLES_PER_BATCH : (place + 1) * SAMPLES_PER_BATCH])
            found.append(Step(batch=batch, former=found[-1].longest if found else 0))
    return Stream(steps=tuple(found[:steps]))


def _lengths() -> list[int]:
    """Return the length of each sample, scaled so that the known number of tokens comes out, in an order that is luck.

    The lengths are even quantiles of the distribution, so that its tail does not depend on luck as well.
    """
    count = STEPS * SAMPLES_PER_BATCH
    quantiles = [NormalDist().inv_cdf((index + 0.5) / count) for index in range(count)]
    shares = [max(0.0, 1 + POWER * SPREAD * quantile) ** (1 / POWER) for quantile in quantiles]
    low, high = 50.0, 500.0
    while high - low > 1e-3:
        scale = (low + high) / 2
        lengths = [max(SHORTEST_TOKENS, min(LONGEST_TOKENS, round(scale * share))) for share in shares]
        low, high = (low, scale) if sum(lengths) + count > TOKENS else (scale, high)
    lengths[-1] = LONGEST_TOKENS
    random.Random(SEED).shuffle(lengths)  # noqa: S311 # an order of lengths, no secret
    return lengths
