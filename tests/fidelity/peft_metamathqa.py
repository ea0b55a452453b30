"""The MetaMathQA comparison of PEFT: Llama-3.2-3B on an L40S, 5000 steps, counters exact to the byte.

A run of 5000 steps would take an hour, so 49 stand for them: a short batch, one whole typical bucket, three batches each of six
others, and the half with the long batches of the bucket that has the longest of all; the cache is emptied between them. What is
fixed by the longest batch (the largest reserved) is taken as it is. What is taken over all steps comes from a curve through the
sampled ones, applied to the lengths of all 5000: allocated is a straight line over the padded tokens, since what lives after a
step are its outputs; reserved, where the cache was emptied after every step, lines between the sampled numbers of tokens, after
what the outputs of the step before add, which live until the forward pass is through; and where it was emptied after every
tenth, lines over the longest batch since it was emptied, for each place in the ten.

Known differences: to switch an adapter off and on again, for the loss on Wikipedia before the steps, makes PEFT 0.18.1 train
what LoRA-FA has frozen, which the run of January 2026 did not do and that of July 2026 did. Prefix tuning reserved 0.9 GB more
in its longest batch from 2026 on than here, and prompt tuning 0.8 to 1.1 GB less; both are not explained.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, Final

from tests.fidelity import lengths
from tests.fidelity.environments import load_eras
from tests.fidelity.fits import least_squares, line_through, percentile, value_of
from tests.fidelity.rows import NotRebuilt, Plan, Row, Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ALLOCATED: Final = "allocated after the step, mean of the run"
ALLOCATED_WINDOW: Final = "allocated after the step, window {}"
MAX_RESERVED: Final = "max reserved"
AVERAGE_RESERVED: Final = "reserved after the step, average, cache emptied every {}"
HIGH_RESERVED: Final = "reserved after the step, 99th percentile, cache emptied every {}"
CARDS: Final = {"NVIDIA L40S": "l40s"}
TOKENS_TOLERANCE: Final = 0.005
"""Share by which the tokens of a run may differ from those of its stream: which samples come first is not known."""
ERA_BY_TORCH: Final = {"2.7.1": "torch-2.7.1", "2.9.0": "torch-2.9.0", "2.13.0": "torch-2.13.0"}
PEFT_BY_ROW: Final = {
    "0.15.2.dev0": "0.16.0",
    "0.16.1.dev0": "0.16.0",
    "0.17.1.dev0": "0.17.1",
    "0.17.2.dev0": "0.18.0",
    "0.18.1.dev0": "0.18.1",
    "0.19.0": "0.19.0",
    "0.19.2.dev0": "0.20.0",
}
"""The release that is nearest to the development version of a run and has its method."""

SCIKIT_LEARN: Final = ("scikit-learn", "scipy", "joblib", "threadpoolctl", "cloudpickle", "narwhals")
"""What AdaMSS needs besides, and what that needs: packages of a row are installed one by one."""


def plan(row: Row) -> Plan:
    """Return how to rebuild a row."""
    metrics, windows = row["metrics"], row["windows"]
    period = _period(row)
    every = "step" if period == 1 else f"{period} steps"
    measured = {
        MAX_RESERVED: metrics["memory_max_reserved_bytes"],
        AVERAGE_RESERVED.format(every): metrics["memory_reserved_avg_bytes"],
        HIGH_RESERVED.format(every): metrics["memory_reserved_99th_bytes"],
    }
    if windows:
        measured[ALLOCATED] = statistics.fmean(window[4] for window in windows)
        measured |= {ALLOCATED_WINDOW.format(window[0]): window[4] for window in windows}
    identity = f"{row['experiment']} torch {row['software']['torch']} {row['run_created_at'][:10]}"
    return Plan(
        source="peft_metamathqa", identity=identity, grade=row["grade"], measured=measured, run=_run(row, period, every)
    )


def _period(row: Row) -> int:
    """Return after how many steps the cache was emptied."""
    return 10 if "10th" in row["empty_cache_schedule"] else 1


def _run(row: Row, period: int, every: str) -> Run | NotRebuilt:
    """Return the run, or why there is none."""
    train, software = row["train_config"], row["software"]
    if row["hardware"] not in CARDS:
        return NotRebuilt(reason=f"no card of the catalogue is called {row['hardware']}")
    stream = lengths.stream(train["max_steps"], min(train["max_seq_length"], lengths.LONGEST_TOKENS))
    found = row["metrics"]["train_total_tokens_plus_eos"] / train["max_steps"]
    if abs(stream.tokens_per_step / found - 1) > TOKENS_TOLERANCE:
        return NotRebuilt(
            reason=f"other batches than the rest: {found:.1f} tokens in a step, expected {stream.tokens_per_step:.1f}"
        )
    if train["compile"] or train["use_amp"]:
        return NotRebuilt(reason="compiled or with automatic mixed precision, which the run here does not do")
    torch = software["torch"].partition("+")[0]
    era = ERA_BY_TORCH.get(torch) or min(ERA_BY_TORCH.values(), key=lambda key: _distance(key.partition("-")[2], torch))
    peft = PEFT_BY_ROW.get(software["peft"], software["peft"].partition(".dev")[0])
    packages = [f"peft=={peft}"]
    packages += SCIKIT_LEARN if row["method"] == "ADAMSS" else ()
    window_steps = train["max_steps"] / max(1, len(row["windows"]))
    window_tokens = {window[0]: window[3] / window_steps for window in row["windows"]}
    settings = {
        "model": row["model"],
        "method": row["method"],
        "train_config": train,
        "adapter_config": row["adapter_config"] or None,
        "wiki_loss_passes": row["wiki_loss_passes"],
        "empty_cache_every": period,
        "steps": numbered(stream),
    }
    return Run(
        script="metamathqa",
        era=era,
        card=CARDS[row["hardware"]],
        settings=settings,
        packages=tuple(packages),
        lowered=_difference(software, era),
        counters=lambda counted: counters(counted, stream, period, every, window_tokens),
    )


def _difference(software: Mapping[str, Any], era: str) -> str | None:
    """Return what the versions of the run here differ in from those of the row, unless they are the same or nearly so."""
    packages = load_eras()[era].packages
    found = next(package.partition("==")[2] for package in packages if package.startswith("transformers=="))
    if found == software["transformers"]:
        return None
    return f"transformers {found} stands for {software['transformers']}"


def _distance(one: str, other: str) -> int:
    """Return how far two releases of torch are apart, in minor releases."""
    return abs(int(one.split(".")[1]) - int(other.split(".")[1]))


OTHER_BUCKETS: Final = (0.98, 0.9, 0.8, 0.65, 0.35, 0.1)
"""Buckets of which three batches are run, by their place in the order of their longest batches."""
FIRST_NUMBER: Final = 2000
"""Number of the first sampled step: methods that change their ranks on the way do so by the number."""


def blocks(stream: lengths.Stream) -> tuple[tuple[lengths.Step, ...], ...]:
    """Return the steps that stand for all, in blocks between which the cache is emptied; the first is a short batch alone.

    As in the whole run, a bucket's first batch follows the last and shortest of another. Of the other buckets the first two
    and the last are run: after the second batch the reserved memory of ten grows no more.
    """
    typical, longest = stream.bucket_at(0.5), stream.bucket_at(1)
    others = map(stream.bucket_at, OTHER_BUCKETS)
    return (typical[-1:], typical[:10], typical[10:], *((*other[:2], other[-1]) for other in others), longest[:10])


def sampled(stream: lengths.Stream) -> list[lengths.Step]:
    """Return the steps that stand for all, in the order in which they are run."""
    return [step for block in blocks(stream) for step in block]


def numbered(stream: lengths.Stream) -> list[tuple[int, lengths.Batch]]:
    """Return the batches that are run, each with the number of its step: the last of a block has one at which ten are full."""
    return [
        (FIRST_NUMBER + 10 * index + (10 if step is block[-1] else place), step.batch)
        for index, block in enumerate(blocks(stream))
        for place, step in enumerate(block, start=1)
    ]


def counters(
    counted: Mapping[str, Any], stream: lengths.Stream, period: int, every: str, window_tokens: Mapping[int, float]
) -> dict[str, float]:
    """Return the value of each metric from the sampled steps; `window_tokens` are unpadded tokens per step and four more."""
    line = least_squares([[1.0, step.longest] for step in sampled(stream)], counted["allocated_bytes"])
    mean = statistics.fmean(step.longest for step in stream.steps)
    reserved = (_after_every_step if period == 1 else _after_every_tenth)(counted["reserved_bytes"], stream)
    of_window = {
        ALLOCATED_WINDOW.format(step): value_of(line, [1.0, mean * tokens / stream.tokens_per_step])
        for step, tokens in window_tokens.items()
    }
    return {
        MAX_RESERVED: counted["max_reserved_bytes"],
        AVERAGE_RESERVED.format(every): statistics.fmean(reserved),
        HIGH_RESERVED.format(every): percentile(reserved, 99),
        ALLOCATED: value_of(line, [1.0, mean]),
        **of_window,
    }


def _after_every_step(reserved: Sequence[float], stream: lengths.Stream) -> list[float]:
    """Return the memory reserved after each of all steps, where the cache was emptied after each.

    What a token of the step before adds comes from a parabola with it through all sampled steps.
    """
    steps = sampled(stream)
    formers = [0.0, *(float(step.longest) for step in steps[:-1])]
    rows = [[1.0, step.longest, step.longest**2, former] for step, former in zip(steps, formers, strict=True)]
    per_former = least_squares(rows[1:], reserved[1:])[-1]
    found: dict[int, list[float]] = {}
    for step, value, former in zip(steps, reserved, formers, strict=True):
        found.setdefault(step.longest, []).append(value - per_former * former)
    points = [(float(length), statistics.fmean(values)) for length, values in sorted(found.items())]
    return [line_through(points, step.longest) + per_former * step.former for step in stream.steps]


def _after_every_tenth(reserved: Sequence[float], stream: lengths.Stream) -> list[float]:
    """Return the memory reserved after each of all steps, where the cache was emptied after every tenth."""
    points, first = [], 1
    for block in blocks(stream)[1:]:
        values = list(reserved[first : first + len(block)])
        points.append((block[0].longest, values + values[-1:] * (10 - len(values))))
        first += len(block)
    points.sort()
    found = []
    for start in range(0, len(stream.steps), 10):
        longest = stream.steps[start].longest
        found += [line_through([(length, values[place]) for length, values in points], longest) for place in range(10)]
    return found
