"""torchtune's tables: flags that are added one after the other, LoRA of its tutorials, and the table of its README.

The package itself makes the model, by its own configuration of the model and method; what the row says overrides that.
Nothing is fitted. Assumed, since the rows do not say it: samples that are not packed have any length from 64 tokens up to 512,
which was the limit of the Alpaca data set in torchtune 0.1.1, the release of the tutorials, each as often as another; of the
README's one "peak memory" the counter of its other table is taken, active bytes.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from tests.fidelity.rows import NotRebuilt, Plan, Row, Run

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE: Final = "torchtune"
SHORTEST_TOKENS: Final = 64
LONGEST_TOKENS: Final = 512
"""Of samples that are not packed."""
STEPS: Final = 2
STEPS_UNPACKED: Final = 32
"""More where batches have different lengths, since the cache then fills with blocks of other sizes."""
BYTES_PER_UNIT: Final = {"GiB": 2.0**30, "GB": 1e9}
"""torchtune 0.1.1 divides by 1e9 and writes GB, later releases by 2**30 and writes GiB. Source: their `memory.py`."""
CONFIGS: Final = {
    "llama-2-7b": "llama2/7B",
    "llama-2-13b": "llama2/13B",
    "llama-3.1-8b": "llama3_1/8B",
    "llama-3.2-1b": "llama3_2/1B",
    "llama-3.2-3b": "llama3_2/3B",
}
CARDS: Final = {"4090": "rtx4090", "3090": "rtx3090", "A100": "a100-80", "A6000": "a6000", "24GB": "rtx4090"}
TODAY: Final = (
    *("torchtune==0.6.1", "torchao==0.15.0", "torchvision"),
    *("omegaconf", "antlr4-python3-runtime==4.9.3", "sentencepiece", "tiktoken", "blobfile"),
)
"""The last release of torchtune, the last of torchao that it can be imported with, and what they need."""
METHODS: Final = {"full": "full", "lora": "lora", "qlora": "qlora", "dora": "lora", "qdora": "qlora"}


def plan(row: Row) -> Plan:
    """Return how to rebuild a row."""
    settings = row["settings"]
    words = (row["model"], row["method"], row.get("step"), settings.get("lora_layers"), settings.get("rank"), row["hardware"])
    identity = " ".join(str(word) for word in words if word)
    measured = {row["metric"]: row["value"] * BYTES_PER_UNIT[row["unit"]]} if row["value"] else {row["metric"]: 0.0}
    if "value_after_model_init" in row:
        measured["peak reserved: model init"] = row["value_after_model_init"] * BYTES_PER_UNIT[row["unit"]]
    return Plan(source=SOURCE, identity=identity, grade=row["grade"], measured=measured, run=_run(row))


def _run(row: Row) -> Run | NotRebuilt:
    """Return the run, or why there is none."""
    settings = row["settings"]
    name = row["model"].rpartition("/")[2].lower().replace(" ", "-").removeprefix("meta-")
    config = next((config for key, config in CONFIGS.items() if name.startswith(key)), None)
    method = METHODS.get(row["method"].lower())
    card = next((card for words, card in CARDS.items() if words in row["hardware"]), "a100-80")
    if config is None or method is None:
        return NotRebuilt(reason=f"{row['model']} with {row['method']} is not written down here")
    if not row["value"]:
        return NotRebuilt(reason="the source has no value for this row")
    if not row["hardware"].startswith(("1x", "1 x", "single")):
        return NotRebuilt(reason=f"sharded over several cards ({row['hardware']})")
    checkpointing = settings.get("activation_checkpointing", not settings.get("step"))
    tutorial = "tutorial" in row["source"]
    batch_size = settings.get("batch_size") or 2
    accumulated = int(settings.get("gradient_accumulation") or (2 if tutorial else 1))
    tokens = settings.get("max_seq_len") or settings.get("seq_len") or LONGEST_TOKENS
    packed = [tokens] * (STEPS * accumulated)
    return Run(
        script="torchtune_recipes",
        era="torch-2.4.1" if tutorial else "torch-2.5.1",
        card=card,
        packages_today=TODAY,
        settings={
            "config": f"{config}_{method}_single_device",
            "model": _model(settings),
            "batch_size": batch_size,
            "tokens": packed if settings.get("packed") else lengths(batch_size, STEPS_UNPACKED * accumulated),
            "checkpointing": checkpointing,
            "offloading": bool(settings.get("activation_offloading")),
            "optimizer": "torch.optim.AdamW" if "AdamW" in str(settings.get("optimizer")) else None,
            "optimizer_in_backward": bool(settings.get("optimizer_in_bwd")),
            "chunked_loss": "Chunked" in str(settings.get("loss", "Chunked")) and not tutorial,
            "keeps_logits": tutorial,
            "compile": bool(settings.get("compile")),
            "accumulate": accumulated,
        },
        counters=lambda counted: _counters(row, counted),
        lowered=_lowered(row, tutorial=tutorial),
    )


def lengths(batch_size: int, count: int) -> list[int]:
    """Return the lengths that so many batches of unpacked samples are padded to: that of the longest in each."""
    generator = random.Random(0)  # noqa: S311 # lengths are no secret
    return [max(generator.randint(SHORTEST_TOKENS, LONGEST_TOKENS) for _ in range(batch_size)) for _ in range(count)]


def _model(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the row says of LoRA, under torchtune's names."""
    layers = settings.get("lora_layers", "")
    found: dict[str, Any] = {}
    if layers.startswith("all"):
        found = {"lora_attn_modules": ["q_proj", "k_proj", "v_proj", "output_proj"]}
        found |= {"apply_lora_to_mlp": "mlp" in layers, "apply_lora_to_output": "output" in layers}
    elif layers:
        found = {"lora_attn_modules": [f"{part.strip()}_proj" for part in layers.split(",")]}
    if settings.get("rank"):
        found |= {"lora_rank": settings["rank"], "lora_alpha": settings.get("alpha", 2 * settings["rank"])}
    return found


def _lowered(row: Row, *, tutorial: bool) -> str:
    """Return what differs."""
    versions = "torch 2.4.1 and torchtune 0.1.1" if tutorial else "torch 2.5.1 and torchtune 0.4.0"
    parts = [f"{versions} stand for those of the row"]
    if tutorial:
        parts.append("samples are taken to have any length up to the 512 tokens that the data set is cut to")
    if row["settings"].get("packed"):
        parts.append("plain causal attention stands for the mask of packed samples")
    if "not said" in row.get("metric_definition", ""):
        parts.append("active bytes are taken as the counter, which the source does not name")
    return "; ".join(parts)


def _counters(row: Row, counted: Mapping[str, Any]) -> dict[str, float]:
    """Return the value of each metric."""
    reserved = "reserved" in row["metric"] + row.get("metric_definition", "").split(";")[0] and "active" not in row["metric"]
    if "not said" in row.get("metric_definition", ""):
        reserved = False
    found = {row["metric"]: counted["max_reserved_bytes" if reserved else "max_active_bytes"]}
    return {**found, "peak reserved: model init": counted["reserved_after_init_bytes"]}
