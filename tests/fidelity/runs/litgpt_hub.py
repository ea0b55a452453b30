"""Fine-tuning with litgpt itself by a file of its config hub: its model, its loss and its way to make optimizers.

Follows litgpt/finetune/lora.py and full.py of the installed release: LoRA's logits come in pieces and full fine-tuning's in one,
and quantised runs take the paged optimizer. Every batch is as long as the limit allows.
"""

from __future__ import annotations

from typing import Any

import torch
from litgpt_tables import HEAD_PIECE_TOKENS, fabric_of, load

WEIGHTS = "bfloat16"


def run(settings: dict[str, Any]) -> dict[str, Any]:
    """Train to the first optimizer step and one batch further; return the largest number of bytes allocated since the start."""
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.enabled = False  # not emulated; LoRA's convolutions with a kernel of one then run as products
    fits = True
    try:
        _train(settings["model"], settings["yaml"])
    except torch.cuda.OutOfMemoryError:
        fits = False
    return {"max_allocated_bytes": torch.cuda.max_memory_allocated(), "fits": fits}


def _train(name: str, yaml: dict[str, Any]) -> None:
    """Fine-tune."""
    from litgpt.utils import instantiate_bnb_optimizer, instantiate_torch_optimizer

    fabric = fabric_of(yaml.get("quantize"), yaml["precision"])
    with fabric.init_module(empty_init=False):
        model = _model(name, yaml)
    model = fabric.setup_module(model)
    make = instantiate_bnb_optimizer if yaml.get("quantize") else instantiate_torch_optimizer
    optimizer = fabric.setup_optimizers(make(yaml["optimizer"], model.parameters()))
    load(model, WEIGHTS)
    train = yaml["train"]
    model.max_seq_length = train["max_seq_length"]
    for _ in range(2):
        _backward(fabric, model, yaml)
    optimizer.step()
    optimizer.zero_grad()
    _backward(fabric, model, yaml)


def _model(name: str, yaml: dict[str, Any]) -> Any:
    """Make the model, with LoRA where the file has a rank."""
    if not yaml.get("lora_r"):
        from litgpt.model import GPT, Config

        return GPT(Config.from_name(name))
    from litgpt import lora

    keys = ("r", "alpha", "dropout", "query", "key", "value", "projection", "mlp", "head")
    model = lora.GPT(lora.Config.from_name(name, **{f"lora_{key}": yaml[f"lora_{key}"] for key in keys}))
    lora.mark_only_lora_as_trainable(model)
    return model


def _backward(fabric: Any, model: Any, yaml: dict[str, Any]) -> None:
    """Do one forward and backward pass on a full batch."""
    from litgpt.utils import chunked_cross_entropy

    train = yaml["train"]
    shape = (train["micro_batch_size"], train["max_seq_length"])
    ids, targets = torch.full(shape, 5).to("cuda"), torch.full(shape, 5).to("cuda")
    if yaml.get("lora_r"):
        logits = model(ids, lm_head_chunk_size=HEAD_PIECE_TOKENS)
        logits[-1] = logits[-1][..., :-1, :]
    else:
        logits = model(ids)[..., :-1, :]
    loss = chunked_cross_entropy(logits, targets[..., 1:])
    fabric.backward(loss / (train["global_batch_size"] // train["micro_batch_size"]))
