"""The MetaMathQA comparison of PEFT: Llama-3.2-3B on an L40S, 5000 steps, counters exact to the byte.

A run of 5000 steps would take an hour, so few stand for them (`sampled_steps.py`). After ten blocks of them a batch of
questions is answered before the cache is emptied, as every 250 steps in the run. After all steps two batches of the 27 are,
where gradients are checkpointed: elsewhere they need some 13 GB and the longest batch 19 or more. The largest reserved is taken
as it is: that of the longest batch, or, for methods that need little for it, that of the answers.

The lengths of the questions are those of GSM8K. An answer ends after as many tokens as it may have, since among fifty one does.
The longest batch of prompt tuning reserves 0.5 GB more or less by where former blocks lay. Prefix tuning asks for three blocks
of 1094 MiB when questions are answered. After a batch of 558 tokens one is found among the cached, after 557 none: the logits
of 558 in 32 bits lie in a segment of just that size, those of 557 in a smaller one. Of the ten longest batches before answers
one has 558 or more in less than half of all orders of the samples. In the one order that was run here at first one had 563, and
the row came out 3.5 % too low; since then what stands before answers is as long as in the median of all orders.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, Final

from tests.fidelity import lengths
from tests.fidelity.environments import load_eras
from tests.fidelity.fits import least_squares, percentile, value_of
from tests.fidelity.rows import NotRebuilt, Plan, Row, Run
from tests.fidelity.sampled_steps import SampledSteps, reserved_after_every_step, reserved_after_every_tenth, sampled

if TYPE_CHECKING:
    from collections.abc import Mapping

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

VALIDATION_TOKENS: Final = 119
"""Pieces that Llama 3's pattern cuts the longest of the 50 questions into, with the template around it. Source: train.jsonl of
openai/grade-school-math, of which the run takes the first 50 after NumPy has shuffled it with seed 0."""
TEST_TOKENS: Final = (144, 195)
"""The same of the batch of the test that has the longest of all 1319 questions, and of the one before. Source: test.jsonl."""
FIRST_WIKI_LOSS_OF_BASE: Final = "2026-07-14"
"""Since when the loss on Wikipedia before the steps is the base model's; earlier the adapter was on. Source: PEFT d787f51bb."""

STANDS_IN: Final = {
    "ADAMSS": "clusters of one size stand for those that K-means finds in the weights",
    "BOFT": "its own kernel is not compiled, so blocks are put together by torch's operators",
    "FROD": "projections without values stand for those of the weights",
    "SHIRA": "the first places of a weight stand for those that were drawn",
}
"""What the run here puts in place of values that a method reads from weights (`runs/stand_ins.py`)."""
SCIKIT_LEARN: Final = ("scikit-learn", "scipy", "joblib", "threadpoolctl", "cloudpickle", "narwhals")
"""What AdaMSS asks for before it begins, and what that needs: packages of a row are installed one by one."""


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
    needed = SCIKIT_LEARN if row["method"] == "ADAMSS" else ()
    peft = PEFT_BY_ROW.get(software["peft"], software["peft"].partition(".dev")[0])
    sample = sampled(stream, train["eval_steps"])
    window_steps = train["max_steps"] / max(1, len(row["windows"]))
    window_tokens = {window[0]: window[3] / window_steps for window in row["windows"]}
    settings = {
        "model": row["model"],
        "method": row["method"],
        "train_config": train,
        "adapter_config": row["adapter_config"] or None,
        "wiki_loss_passes": row["wiki_loss_passes"],
        "wiki_loss_of_base": row["run_created_at"] >= FIRST_WIKI_LOSS_OF_BASE,
        "empty_cache_every": period,
        "steps": sample.numbered,
        "validated_after": sample.validated_after,
        "validation": VALIDATION_TOKENS,
        "tests": TEST_TOKENS if train.get("use_gc") else (),
    }
    return Run(
        script="metamathqa",
        era=era,
        card=CARDS[row["hardware"]],
        settings=settings,
        packages=(f"peft=={peft}", *needed),
        packages_today=needed,
        lowered="; ".join(filter(None, (_difference(software, era), STANDS_IN.get(row["method"])))) or None,
        counters=lambda counted: counters(counted, sample, period, every, window_tokens),
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


def counters(
    counted: Mapping[str, Any], sample: SampledSteps, period: int, every: str, window_tokens: Mapping[int, float]
) -> dict[str, float]:
    """Return the value of each metric from the sampled steps; `window_tokens` are unpadded tokens per step and four more."""
    stream = sample.stream
    line = least_squares([[1.0, step.longest] for step in sample.steps], counted["allocated_bytes"])
    mean = statistics.fmean(step.longest for step in stream.steps)
    reserved = (reserved_after_every_step if period == 1 else reserved_after_every_tenth)(counted["reserved_bytes"], sample)
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
