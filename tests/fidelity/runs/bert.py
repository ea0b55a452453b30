"""Fine-tuning of a BERT classifier on ids of one length, as the Trainer of early 2022 did it.

Of that time, and different from today's: gradients are zeroed and not freed, attention computes its scores in the open,
checkpointing is the reentrant one, AdamW goes through the parameters one by one, and softmax keeps its input for the backward
pass beside its output. The last was inferred: 24 inputs of 64 MiB are what was missing, and torch 1.10's own source was not at
hand to check it.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from transformers import BertConfig, BertForSequenceClassification

if TYPE_CHECKING:
    from collections.abc import Iterator

OPTIMIZER_STEPS = 3


class SoftmaxOfItsTime(torch.autograd.Function):
    """Softmax over the last dimension that keeps its input too."""

    @staticmethod
    def forward(ctx: Any, scores: torch.Tensor) -> torch.Tensor:
        """Return the shares; input and output live until the backward pass."""
        shares = torch.softmax(scores, -1)
        ctx.save_for_backward(scores, shares)
        return shares

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the scores."""
        scores, shares = ctx.saved_tensors
        return torch._softmax_backward_data(grad, shares, -1, scores.dtype)


@contextmanager
def softmax_of_its_time() -> Iterator[None]:
    """Put it in the place of the one that attention calls; under autocast it works in 32 bits, as the real one does."""
    present = torch.nn.functional.softmax

    def softmax(scores: torch.Tensor, **_: int) -> torch.Tensor:
        return SoftmaxOfItsTime.apply(scores.float() if torch.is_autocast_enabled() else scores)

    torch.nn.functional.softmax = softmax
    try:
        yield
    finally:
        torch.nn.functional.softmax = present


def run(settings: dict[str, Any]) -> dict[str, Any]:
    """Train some steps; return the bytes reserved at the end, from which nothing was released."""
    torch.ones((1, 1)).to("cuda")
    config = BertConfig(**settings["config"], attn_implementation="eager")
    model = BertForSequenceClassification(config).to("cuda")
    model.train()
    if settings["gradient_checkpointing"]:
        model.gradient_checkpointing_enable({"use_reentrant": True})
    optimizer = _optimizer(model, settings["optimizer"])
    scaler = torch.cuda.amp.GradScaler() if settings["fp16"] else None
    for _ in range(OPTIMIZER_STEPS):
        for _ in range(settings["gradient_accumulation"]):
            _backward(model, settings, scaler)
        if scaler:
            scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
        model.zero_grad(set_to_none=False)
    return {"reserved_bytes": torch.cuda.memory_reserved(), "max_allocated_bytes": torch.cuda.max_memory_allocated()}


def _backward(model: Any, settings: dict[str, Any], scaler: Any) -> None:
    """Do one forward and backward pass."""
    shape = (settings["batch_size"], settings["sequence_tokens"])
    ids, labels = torch.randint(100, 30000, shape).to("cuda"), torch.zeros(shape[0], dtype=torch.int64).to("cuda")
    with softmax_of_its_time():  # the backward pass too, since checkpointing computes once more in it
        with torch.cuda.amp.autocast() if scaler else nullcontext():
            loss = model(input_ids=ids, labels=labels).loss
        loss = loss / settings["gradient_accumulation"]
        (scaler.scale(loss) if scaler else loss).backward()


def _optimizer(model: Any, name: str) -> Any:
    """Make the optimizer, with weight decay as the Trainer groups it."""
    decayed = [p for n, p in model.named_parameters() if "bias" not in n and "LayerNorm" not in n]
    others = [p for n, p in model.named_parameters() if "bias" in n or "LayerNorm" in n]
    groups = [{"params": decayed, "weight_decay": 0.0}, {"params": others, "weight_decay": 0.0}]
    if name == "adafactor":
        from transformers.optimization import Adafactor

        return Adafactor(groups, lr=5e-5, scale_parameter=False, relative_step=False)
    if name == "adam8bit":
        import bitsandbytes

        optimizer = bitsandbytes.optim.Adam8bit(groups, lr=5e-5)
        for module in model.modules():
            if isinstance(module, torch.nn.Embedding):
                bitsandbytes.optim.GlobalOptimManager.get_instance().register_module_override(
                    module, "weight", {"optim_bits": 32}
                )
        return optimizer
    return torch.optim.AdamW(groups, lr=5e-5, foreach=False)
