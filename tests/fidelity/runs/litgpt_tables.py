"""LitGPT's scripts of October 2023 behind its resource tables: fine-tuning with LoRA or an adapter, and generation.

Follows finetune/lora.py, finetune/adapter.py, finetune/adapter_v2.py and generate/base.py of Lightning-AI/litgpt at 8641822,
and, for quantised adapters, which that commit does not offer yet, the way of finetune/lora.py. Lightning's Fabric is the real
one: it casts outputs to 32 bits, and with bitsandbytes it quantises each weight when the layer is made and again when its
values arrive from the checkpoint.

Training is run from its longest batch on, which the source puts first, to the optimizer's first step and one batch further.
Of the evaluations before it one batch is run, since an adapter keeps what its first pass made.
"""

from __future__ import annotations

from typing import Any

import lightning
import torch
from litgpt_model import Gpt, Shape
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax

TRAINED_PARTS = {
    "lora": ("lora_",),
    "adapter": ("adapter_wte", "gating_factor"),
    "adapter_v2": ("adapter_wte", "gating_factor", "adapter_scale", "adapter_bias", "norm_1", "norm_2", "ln_f"),
}
HEAD_PIECE_TOKENS = 128
LEARNING_RATE = 3e-4


def run(settings: dict[str, Any]) -> dict[str, Any]:
    """Train or generate; return the largest number of bytes allocated since the start, and whether memory sufficed."""
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.enabled = False  # not emulated; LoRA's convolutions with a kernel of one then run as products
    fits = True
    try:
        (_generate if settings["shape"]["method"] == "inference" else _train)(settings)
    except torch.cuda.OutOfMemoryError:
        fits = False
    return {"max_allocated_bytes": torch.cuda.max_memory_allocated(), "fits": fits}


def fabric_of(quantization: str | None, precision: str) -> Any:
    """Make Fabric for one card."""
    if quantization:
        from lightning.fabric.plugins import BitsandbytesPrecision

        plugin = BitsandbytesPrecision(quantization.removeprefix("bnb."), torch.bfloat16)
        return lightning.Fabric(devices=1, accelerator="cuda", plugins=plugin)
    return lightning.Fabric(devices=1, accelerator="cuda", precision=precision)


def _train(settings: dict[str, Any]) -> None:
    """Fine-tune."""
    fabric, shape = fabric_of(settings["quantization"], settings["precision"]), Shape(**settings["shape"])
    with fabric.init_module(empty_init=False):
        model = Gpt(shape)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(part in name for part in TRAINED_PARTS[shape.method])
    model = fabric.setup_module(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if settings["quantization"]:
        import bitsandbytes

        optimizer: Any = bitsandbytes.optim.PagedAdamW(trained, lr=LEARNING_RATE, weight_decay=0.01)
    else:
        optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.01)
    optimizer = fabric.setup_optimizers(optimizer)
    load(model, settings["weights"])
    model.limit(settings["longest_tokens"])
    _evaluate(model, settings)
    for _ in range(2):
        _backward(fabric, model, settings)
    optimizer.step()
    optimizer.zero_grad()
    _backward(fabric, model, settings)


def _evaluate(model: Any, settings: dict[str, Any]) -> None:
    """Do the first pass of an evaluation, on a short batch: its samples are not the longest."""
    model.eval()
    with torch.no_grad():
        model(_ids(settings["batch_size"], HEAD_PIECE_TOKENS))
    model.train()


def _backward(fabric: Any, model: Any, settings: dict[str, Any]) -> None:
    """Do one forward and backward pass on the longest batch."""
    ids = _ids(settings["batch_size"], settings["longest_tokens"])
    targets = _ids(settings["batch_size"], settings["longest_tokens"])
    logits = model(ids, pieces=HEAD_PIECE_TOKENS)
    logits[-1] = logits[-1][..., :-1, :]
    loss = _loss(logits, targets[..., 1:])
    fabric.backward(loss / (settings["global_batch_size"] // settings["batch_size"]))


def _loss(logits: list[Tensor], targets: Tensor) -> Tensor:
    """Return the loss of pieces."""
    pieces = [piece.reshape(-1, piece.size(-1)) for piece in logits]
    wanted = [piece.reshape(-1) for piece in targets.split(logits[0].size(1), dim=1)]
    losses = [
        cross_entropy(piece, want, ignore_index=-1, reduction="none") for piece, want in zip(pieces, wanted, strict=False)
    ]
    return torch.cat(losses).mean()


def _ids(batch: int, tokens: int) -> Tensor:
    """Return a batch on the card."""
    return torch.full((batch, tokens), 5).pin_memory().to("cuda")


def _generate(settings: dict[str, Any]) -> None:
    """Load for generation, and generate."""
    fabric = fabric_of(settings["quantization"], settings["precision"])
    with fabric.init_module(empty_init=True):
        model = Gpt(Shape(**settings["shape"]))
    model.eval()
    model = fabric.setup_module(model)
    load(model, settings["weights"])
    with torch.no_grad():  # the source's inference mode and a dispatch mode do not go together in torch 2.1
        _continue(fabric, model, settings)


def _continue(fabric: Any, model: Any, settings: dict[str, Any]) -> None:
    """Generate some tokens after the prompt, the largest logits only."""
    with fabric.init_tensor():
        model.limit(settings["prompt_tokens"] + settings["new_tokens"])
        model.open_cache(torch.get_default_dtype())
    place = torch.arange(0, settings["prompt_tokens"], device="cuda")
    ids = _ids(1, settings["prompt_tokens"])
    for _ in range(2):
        logits = model(ids, place)[0, -1] / 0.8
        best, _ = torch.topk(logits, 200)
        logits = torch.where(logits < best[[-1]], -float("Inf"), logits)
        softmax(logits, dim=-1)
        place = place[-1:] + 1
        ids = _ids(1, 1)


def load(model: nn.Module, dtype: str) -> None:
    """Let the values of a checkpoint arrive, a tensor at a time; nothing is written on the host."""
    for module in model.modules():
        own = {name: value for name, value in module.named_parameters(recurse=False) if name in ("weight", "bias")}
        if not own:
            continue
        features = (getattr(module, "out_features", 0), getattr(module, "in_features", 0))
        shapes = {name: features if name == "weight" and all(features) else value.shape for name, value in own.items()}
        arriving = {name: torch.empty(shape, dtype=getattr(torch, dtype), device="cpu") for name, shape in shapes.items()}
        module.load_state_dict(arriving, strict=False)
