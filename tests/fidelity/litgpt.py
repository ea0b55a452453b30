"""LitGPT's resource tables of October 2023, and the benchmark of its config hub of 2024.

Rebuilt from the row: model, method, quantisation, precision, batch and longest sample. For the tables the model is written
anew (`runs/litgpt_model.py`), since that release was never a package; for the config hub the package itself is run. Nothing
is fitted.

Assumed, since the rows do not say it: generation starts from the script's own prompt of six tokens and makes 50, the defaults
of that script; the longest batch of the config hub is full up to its limit of tokens, in every row of the batch, and so is
the one before it, whose logits are still there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.fidelity.rows import NotRebuilt, Plan, Row, Run

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE: Final = "litgpt"
PEAK: Final = "peak_allocated"
VERDICT: Final = "whether it fits, 1 if as published"
CARDS: Final = {"A100-SXM4-40GB": "a100-40", "A10G": "a10g"}
_NEOX: Final[dict[str, Any]] = {
    "context": 4096,
    "turned_share": 0.25,
    "parallel": True,
    "shared_norm": False,
    "bias": True,
    "head_bias": False,
    "llama": False,
}
_LLAMA: Final[dict[str, Any]] = {**_NEOX, "turned_share": 1.0, "parallel": False, "bias": False, "llama": True}
_FALCON: Final[dict[str, Any]] = {**_NEOX, "context": 2048, "turned_share": 1.0, "bias": False, "vocabulary": 65024}


def _sizes(layers: int, heads: int, width: int, mlp_width: int, groups: int | None = None) -> dict[str, int]:
    """Return sizes under their names; as many groups of keys as heads unless given."""
    return {"layers": layers, "heads": heads, "groups": groups or heads, "width": width, "mlp_width": mlp_width}


MODELS: Final[Mapping[str, Mapping[str, Any]]] = {
    "microsoft/phi-1_5": {
        **_NEOX,
        **_sizes(24, 32, 2048, 8192),
        "context": 2048,
        "turned_share": 0.5,
        "shared_norm": True,
        "head_bias": True,
        "vocabulary": 51200,
    },
    "stabilityai/stablelm-base-alpha-3b": {**_NEOX, **_sizes(16, 32, 4096, 16384), "vocabulary": 50688},
    "stabilityai/stablelm-base-alpha-7b": {**_NEOX, **_sizes(16, 48, 6144, 24576), "vocabulary": 50432},
    "meta-llama/Llama-2-7b-hf": {**_LLAMA, **_sizes(32, 32, 4096, 11008), "vocabulary": 32000},
    "meta-llama/Llama-2-13b-hf": {**_LLAMA, **_sizes(40, 40, 5120, 13824), "vocabulary": 32000},
    "meta-llama/Llama-2-70b-hf": {**_LLAMA, **_sizes(80, 64, 8192, 28672, 8), "vocabulary": 32000},
    "codellama/CodeLlama-13b-hf": {**_LLAMA, **_sizes(40, 40, 5120, 13824), "context": 16384, "vocabulary": 32016},
    "tiiuae/falcon-7b": {**_FALCON, **_sizes(32, 71, 4544, 18176, 1), "shared_norm": True},
    "tiiuae/falcon-40b": {**_FALCON, **_sizes(60, 128, 8192, 32768, 8)},
}
"""Source: lit_gpt/config.py of Lightning-AI/litgpt at 8641822; vocabularies are padded as there."""
PROMPT_TOKENS: Final = 6
NEW_TOKENS: Final = 50
"""Prompt "Hello, my name is" and `max_new_tokens`, the defaults of generate/base.py there."""
LIGHTNING: Final = ("lightning", "lightning-utilities", "torchmetrics")
"""Fabric, and what it needs."""
LITGPT: Final = ("litgpt", "jsonargparse")
LOWERED_TABLES: Final = (
    "a model written after LitGPT's, torch 2.1.2, Lightning 2.1.1 and bitsandbytes 0.41.3 stand for commit 8641822, 2.1.0, a"
    " development build and 0.41.1; the convolutions of LoRA run without cuDNN"
)
LOWERED_HUB: Final = (
    "litgpt 0.4.13, torch 2.4.1 and Lightning 2.4.0 stand for versions that are not named; the longest batch is taken as full"
)


def plan(row: Row) -> Plan:
    """Return how to rebuild a row; each says whether it fits, and if it did, its peak."""
    settings = row["settings"]
    value, out_of_memory = row.get("value"), row.get("oom")
    measured = {VERDICT: 1.0} if out_of_memory is not None and (value or out_of_memory) else {}
    if value:
        measured[PEAK] = value * 1e9
    words = (
        row["model"],
        row["method"],
        row.get("quantization") or _precision(settings),
        f"batch {settings['micro_batch_size']}" if settings.get("micro_batch_size") else "",
        str(row["hardware"]).replace("NVIDIA ", ""),
    )
    identity = " ".join(word for word in words if word)
    return Plan(source=SOURCE, identity=identity, grade=row["grade"], measured=measured or {PEAK: 0.0}, run=_run(row))


def _precision(settings: Mapping[str, Any]) -> str:
    """Return the precision of a row of either kind."""
    return str(settings.get("precision") or settings.get("yaml", {}).get("precision") or "bf16-true")


def _run(row: Row) -> Run | NotRebuilt:
    """Return the run, or why there is none."""
    settings = row["settings"]
    if not row.get("value") and not row.get("oom"):
        return NotRebuilt(reason="the source has no value for this row: the script refuses the combination")
    card = next((key for words, key in CARDS.items() if words in row["hardware"]), None)
    if card is None:
        return NotRebuilt(reason=f"card {row['hardware']!r} is not one of {', '.join(CARDS)}")
    if "yaml" in settings:
        return _hub(row, card)
    if row["model"] not in MODELS:
        return NotRebuilt(reason=f"the sizes of {row['model']} are not written down here")
    if settings.get("gradient_checkpointing"):
        return NotRebuilt(reason="sharded over two cards with Fabric's FSDP, which is not rebuilt here")
    return _table(row, card)


def _table(row: Row, card: str) -> Run | NotRebuilt:
    """Return the run of a row of the resource tables."""
    settings = row["settings"]
    if row["method"] not in ("lora", "adapter", "adapter_v2", "inference"):
        return NotRebuilt(reason=f"method {row['method']!r} is not rebuilt here")
    parts = dict.fromkeys(("query", "key", "value", "projection", "mlp", "head"), False)
    lora = {**parts, **settings["lora"]} if settings.get("lora") else None
    return Run(
        script="litgpt_tables",
        era="torch-2.1.2",
        card=card,
        settings={
            "shape": {**MODELS[row["model"]], "method": row["method"], "lora": lora},
            "quantization": row.get("quantization"),
            "precision": _precision(settings),
            "weights": "float16",
            "batch_size": settings.get("micro_batch_size"),
            "global_batch_size": settings.get("global_batch_size") or 128,
            "longest_tokens": settings.get("longest_sequence_tokens"),
            "prompt_tokens": PROMPT_TOKENS,
            "new_tokens": NEW_TOKENS,
        },
        packages_today=LIGHTNING,
        counters=lambda counted: _counters(row, counted),
        lowered=LOWERED_TABLES,
    )


def _hub(row: Row, card: str) -> Run | NotRebuilt:
    """Return the run of a row of the config hub."""
    settings = row["settings"]
    if row["method"] not in ("lora", "qlora", "full"):
        return NotRebuilt(reason=f"method {row['method']!r} is not rebuilt here")
    return Run(
        script="litgpt_hub",
        era="torch-2.4.1",
        card=card,
        settings={"yaml": settings["yaml"], "model": settings["yaml"]["checkpoint_dir"].rpartition("/")[2]},
        packages_today=(*LIGHTNING, *LITGPT),
        counters=lambda counted: _counters(row, counted),
        lowered=LOWERED_HUB,
        contradiction=lambda counted: _contradiction(row, counted),
    )


def _contradiction(row: Row, counted: Mapping[str, Any]) -> str | None:
    """Say if the published peak is below what the row's own optimizer must hold, so that another was used."""
    if not row.get("value") or row["value"] * 1e9 >= counted["least_bytes"]:
        return None
    held = f"{counted['least_bytes'] / 1e9:.2f} GB"
    return f"weights, gradients and states of AdamW, which the row names, are {held}, above its peak: it was another optimizer"


def _counters(row: Row, counted: Mapping[str, Any]) -> dict[str, float]:
    """Return the value of each metric; a wrong verdict counts as 0."""
    return {PEAK: counted["max_allocated_bytes"], VERDICT: float(counted["fits"] != bool(row.get("oom")))}
