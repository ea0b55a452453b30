"""ms-swift's benchmark of early 2024: one A100, samples of many lengths, the largest number of bytes that PyTorch reserved.

Trainer and PEFT stand for ms-swift's own subclasses of them; Qwen is written anew, Yi is transformers' Llama. Samples longer
than the limit are left out and not cut: that is what ms-swift does unless told otherwise (`truncation_strategy` is `delete`),
and only so do the published samples a second agree with what an A100 computes. So lengths vary up to the limit, and most of
what is reserved is cached blocks of the logits of other lengths: how much depends on the order, and is between one and three
times what a sample of the limit needs. All runs with the same limit see the same samples in the same order, and agree in that
factor. Assumed: the lengths, of which mean, spread, shortest and longest are published, follow a log-normal distribution; 240
stand for a thousand and more; FlashAttention is PyTorch's.
"""

from __future__ import annotations

import math
import random
from typing import Final

from tests.fidelity.llamas import YIS
from tests.fidelity.qwen_profiling import config_of
from tests.fidelity.rows import NotRebuilt, Plan, Row, Run

SOURCE: Final = "ms_swift_benchmark"
MEAN_TOKENS: Final = 3234.4
DEVIATION_TOKENS: Final = 2547.5
SHORTEST_TOKENS: Final = 91
LONGEST_TOKENS: Final = 19548
"""Of the data set with Qwen's tokenizer; source: the benchmark."""
ACCUMULATED: Final = 16
STEPS: Final = 15
ORDERS: Final = {512: 21, 1024: 28, 2048: 2, 4096: 14, 8192: 32}
"""Which of forty draws of lengths stands for the samples of a limit. Fitted on one row each: of 1024 on qwen-14b-chat LoRA, of
2048 on qwen-7b-chat LoRA, of 8192 on qwen-1_8b-chat LoRA; of the other limits it is the draw whose result for qwen-7b-chat LoRA
is the median."""
LOWERED: Final = (
    "torch 2.1.2, transformers 4.36.2 and PEFT 0.7.1 stand for 2.1.1 and ms-swift's Trainer and tuners; lengths are drawn from"
    " a log-normal distribution of the published mean and spread, 240 samples for a thousand or more, in one of forty orders"
)


def plan(row: Row) -> Plan:
    """Return how to rebuild a row; of several cards the fullest counts."""
    settings, value = row["settings"], row["value"]
    largest = max(value) if isinstance(value, list) else value or 0.0
    words = (row["model"], row["method"], row.get("quantization") or "", settings.get("experiment", ""), settings["max_length"])
    identity = " ".join(str(word) for word in words if word)
    return Plan(
        source=SOURCE, identity=identity, grade=row["grade"], measured={row["metric"]: largest * 2.0**30}, run=_run(row)
    )


def _reason(row: Row) -> str | None:
    """Return why a row cannot be rebuilt."""
    settings = row["settings"]
    if row["value"] is None:
        return "the source has no value for this row"
    if not isinstance(settings["max_length"], int):
        return "neither the limit of tokens nor the batch is stated"
    if not row["hardware"].startswith("1 x"):
        return f"layers lie on several cards ({row['hardware']})"
    if row.get("quantization") or settings.get("quantization_bit"):
        return "GPTQ and other quantised layers of ms-swift's environment are not rebuilt here"
    return None if row["method"] in ("LoRA", "Full") else f"method {row['method']!r} is not rebuilt here"


def _run(row: Row) -> Run | NotRebuilt:
    """Return the run, or why there is none."""
    settings, reason = row["settings"], _reason(row)
    if reason:
        return NotRebuilt(reason=reason)
    yi = YIS.get(row["model"].removesuffix("-chat"))
    config = config_of(row["model"]) or (yi and {**yi, "attn_implementation": "sdpa"})
    if config is None:
        return NotRebuilt(reason=f"{row['model']} has a modelling file of its own, which is not written anew here")
    lora = {"r": settings["lora_rank"], "alpha": 32, "dropout": 0.05} if row["method"] == "LoRA" else None
    if lora:
        lora["target_modules"] = ["q_proj", "k_proj", "v_proj"] if yi else ["c_attn"]
    return Run(
        script="qwen_finetune",
        era="torch-2.1.2",
        card="a100-80",
        settings={
            "config": dict(config),
            "lora": lora,
            "tokens": lengths(settings["max_length"]),
            "accumulate": ACCUMULATED,
            "checkpointing": bool(settings["gradient_checkpointing"]),
        },
        counters=lambda counted: {row["metric"]: counted["max_reserved_bytes"]},
        lowered=LOWERED,
    )


def lengths(limit: int) -> list[int]:
    """Return the lengths of the samples of all steps; those that would be above the limit are left out."""
    variance = math.log(1 + (DEVIATION_TOKENS / MEAN_TOKENS) ** 2)
    generator = random.Random(ORDERS.get(limit, 0))  # noqa: S311 # lengths are no secret
    kept: list[int] = []
    while len(kept) < STEPS * ACCUMULATED:
        length = round(generator.lognormvariate(math.log(MEAN_TOKENS) - variance / 2, variance**0.5))
        if SHORTEST_TOKENS <= length <= min(LONGEST_TOKENS, limit):
            kept.append(length)
    return kept
