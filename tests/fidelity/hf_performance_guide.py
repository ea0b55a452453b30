"""The performance guide of transformers: BERT-large on a V100 with 16 GB, as NVML saw it."""

from __future__ import annotations

from typing import Any, Final

from tests.fidelity.rows import NotRebuilt, Plan, Row, Run

CONTEXT_MIB: Final = 1343
"""Memory of the process before the model was loaded, which the guide prints; what is above it is what PyTorch reserved."""
METRIC: Final = "reserved (NVML used, less the context that the guide prints)"
CONFIGS: Final[dict[str, dict[str, Any]]] = {
    "bert-large-uncased": {
        "vocab_size": 30522,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    }
}
"""Source: config.json of the model on the Hugging Face hub."""


def plan(row: Row) -> Plan:
    """Return how to rebuild a row."""
    step = row.get("step", f"batch {row['settings'].get('per_device_batch_size')}")
    measured = {METRIC: (row["value"] - CONTEXT_MIB) * 2.0**20}
    return Plan(
        source="hf_performance_guide", identity=f"{row['model']} {step}", grade=row["grade"], measured=measured, run=_run(row)
    )


def _run(row: Row) -> Run | NotRebuilt:
    """Return the run, or why there is none."""
    settings = row["settings"]
    if row["model"] not in CONFIGS or "V100" not in row["hardware"]:
        return NotRebuilt(reason=f"card and its context are not named ({row['hardware']})")
    return Run(
        script="bert",
        era="torch-2.7.1",
        card="v100-16",
        settings={
            "config": CONFIGS[row["model"]],
            "batch_size": settings["batch_size"],
            "sequence_tokens": settings["seq_len"],
            "gradient_accumulation": settings["gradient_accumulation"],
            "gradient_checkpointing": settings["gradient_checkpointing"],
            "fp16": settings["fp16"],
            "optimizer": _optimizer(settings["optimizer"]),
        },
        counters=lambda counted: {METRIC: counted["reserved_bytes"]},
        lowered="torch 1.10 has no build for a Python of today: 2.7.1, with the Trainer's loop of that time",
    )


def _optimizer(words: str) -> str:
    """Return the key of an optimizer from the words of the row."""
    if words == "adafactor":
        return "adafactor"
    return "adam8bit" if "8bit" in words else "adamw"
