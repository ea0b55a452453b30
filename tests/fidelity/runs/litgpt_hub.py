"""Fine-tuning with litgpt itself by a file of its config hub: its model, its loss and its way to make optimizers.

Follows litgpt/finetune/lora.py and full.py of the installed release: LoRA's logits come in pieces, those of full fine-tuning
in one, and quantised runs take the paged optimizer. Every batch is as long as the limit allows.
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
    fits, least_bytes = True, least_bytes_of(settings["model"], settings["yaml"])
    try:
        _train(settings["model"], settings["yaml"])
    except torch.cuda.OutOfMemoryError:
        fits = False
    return {"max_allocated_bytes": torch.cuda.max_memory_allocated(), "fits": fits, "least_bytes": least_bytes}


def least_bytes_of(name: str, yaml: dict[str, Any]) -> int:
    """Return the bytes of weights, of their gradients and of what AdamW keeps of them, for full fine-tuning in 16 bits."""
    if yaml.get("lora_r"):
        return 0
    with torch.device("meta"):
        return sum(4 * 2 * parameter.numel() for parameter in _model(name, yaml).parameters())


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
    for step in range(2):
        for _ in range(2):
            _logits, loss = _loss(model, yaml)
            fabric.backward(loss / (train["global_batch_size"] // train["micro_batch_size"]))
        if step == 0:
            optimizer.step()
            optimizer.zero_grad()


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


def _loss(model: Any, yaml: dict[str, Any]) -> tuple[Any, Any]:
    """Return logits and loss of a full batch. The caller holds the former ones until then, as the source does.

    With them hangs on what bitsandbytes keeps beyond the backward pass: the input of each quantised layer.
    """
    from litgpt.utils import chunked_cross_entropy

    shape = (yaml["train"]["micro_batch_size"], yaml["train"]["max_seq_length"])
    ids, targets = torch.full(shape, 5).to("cuda"), torch.full(shape, 5).to("cuda")
    logits = model(ids, lm_head_chunk_size=HEAD_PIECE_TOKENS) if yaml.get("lora_r") else model(ids)
    if not yaml.get("lora_r"):
        return logits, chunked_cross_entropy(logits[..., :-1, :], targets[..., 1:])
    logits[-1] = logits[-1][..., :-1, :]
    return logits, chunked_cross_entropy(logits, targets[..., 1:])
