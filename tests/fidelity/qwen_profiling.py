"""The memory of fine-tuning in the README of Qwen, the first of that name: one card, one sample of a stated length at a time.

The model is written anew (`runs/qwen_model.py`), since its own modelling file belongs to no package; Trainer and PEFT are the
real ones, and AdamW is as torch 2.0 had it, which cannot be run here. Assumed: FlashAttention was installed, its kernels for
norms and rotations were not; layers are checkpointed, as in the repository's scripts.

The source names neither counter nor unit, so both are inferred from its rows. "162.0G" on two cards is more than the 160 GiB
that they have: the unit is not GiB. With embedding and head LoRA on 2048 tokens reserves 11,285 and 16,645 MiB more on the
emulated card, and the differences printed are 11.3 and 16.7: the unit is 1000 MiB, as one reads nvidia-smi. All nine rows then
differ from what PyTorch reserves by 1.4 to 2.1 GB, so the counter is taken as what is used of the card. What lies outside of
PyTorch is fitted on one row, which is no test. It is much for a context, as of a driver that loads all kernels at the start: an
RTX 3090 had about 1.45 GiB then (pytorch issue 49877).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.fidelity.rows import NotRebuilt, Plan, Row, Run

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE: Final = "qwen_profiling"
METRIC: Final = "gpu_memory (taken as used of the card)"
UNIT_BYTES: Final = 1000 * 2**20
OUTSIDE_PYTORCH_BYTES: Final = 1630 * 2**20
"""Fitted on Qwen-14B-Chat LoRA 512: 35.1 less what PyTorch reserved."""


def _sizes(layers: int, heads: int, width: int, mlp_width: int, vocabulary: int) -> dict[str, int]:
    """Return sizes under their names."""
    return {"layers": layers, "heads": heads, "width": width, "mlp_width": mlp_width, "vocabulary": vocabulary}


MODELS: Final[Mapping[str, Mapping[str, int]]] = {
    "qwen-1_8b": _sizes(24, 16, 2048, 5504, 151936),
    "qwen-7b": _sizes(32, 32, 4096, 11008, 151936),
    "qwen-14b": _sizes(40, 40, 5120, 13696, 152064),
    "qwen-72b": _sizes(80, 64, 8192, 24576, 152064),
}
"""Source: config.json of Qwen/Qwen-1_8B, Qwen-7B, Qwen-14B and Qwen-72B on the Hugging Face hub; `intermediate_size` halved, as
their modelling file does."""
STEPS: Final = 2
ACCUMULATED: Final = 2
"""Batches before a step, instead of 8: from the second on gradients are there, and more change nothing."""
PACKAGES: Final = ("peft==0.5.0",)
"""The release of the months in which torch 2.0 was current: LoRA has 32 bits in it, whatever the model has."""
LOWERED: Final = (
    "a model written after Qwen's, torch 2.1.2, transformers 4.36.2 and PEFT 0.5.0 stand for torch 2.0 and releases without a"
    " name; the counter is taken as used of the card, in units of 1000 MiB"
)


def config_of(name: str) -> Mapping[str, int] | None:
    """Return the sizes of a model by its name, None if they are not written down here."""
    plain = name.rpartition("/")[2].lower().replace("1.8b", "1_8b").removesuffix("-chat")
    return MODELS.get(plain)


def plan(row: Row) -> Plan:
    """Return how to rebuild a row."""
    settings = row["settings"]
    identity = (
        f"{row['model']} {row['method']} {settings['seq_len']}" if "seq_len" in settings else f"{row['model']} {row['method']}"
    )
    measured = {METRIC: row["value"] * UNIT_BYTES if row["value"] else 0.0}
    return Plan(source=SOURCE, identity=identity, grade=row["grade"], measured=measured, run=_run(row))


def _run(row: Row) -> Run | NotRebuilt:
    """Return the run, or why there is none."""
    settings = row["settings"]
    reason = _reason(row)
    config = config_of(row["model"])
    if reason or config is None:
        return NotRebuilt(reason=reason or f"the sizes of {row['model']} are not written down here")
    return Run(
        script="qwen_finetune",
        era="torch-2.1.2",
        card="a100-80",
        packages=PACKAGES,
        settings={
            "config": dict(config),
            "torch": "2.0",
            "lora": settings.get("lora"),
            "tokens": [settings["seq_len"]] * (STEPS * ACCUMULATED),
            "accumulate": ACCUMULATED,
            "checkpointing": "false" not in str(settings.get("gradient_checkpointing", True)).lower(),
        },
        counters=lambda counted: {METRIC: counted["max_reserved_bytes"] + OUTSIDE_PYTORCH_BYTES},
        lowered=LOWERED,
    )


def _reason(row: Row) -> str | None:
    """Return why a row cannot be rebuilt."""
    if not row["value"]:
        return "the source has no value for this row"
    if not row["hardware"].startswith("1 x"):
        return f"several cards, and a value that looks like their sum ({row['hardware']})"
    if row.get("quantization"):
        return "GPTQ layers of auto-gptq below DeepSpeed ZeRO-2: neither can be installed without a CUDA compiler"
    if not row["settings"].get("lora"):
        return (
            "the repository's script trains all parameters below DeepSpeed ZeRO-2, which needs a CUDA compiler to be installed"
        )
    if "seq_len" not in row["settings"] or "VL" in row["model"]:
        return "images of sizes that are not given"
    return None
