"""Fine-tuning of a vision transformer of torchvision, as 04_lower-batchsize.py in rasbt/pytorch-memory-optim does it."""

from __future__ import annotations

from typing import Any

import torch

TRAINING_STEPS = 3


def run(settings: dict[str, Any]) -> dict[str, Any]:
    """Train some steps and look at one validation batch; return the largest number of bytes reserved."""
    from torchvision.models import vit_l_16

    torch.backends.cudnn.enabled = False  # not emulated; the one convolution, of patches, then keeps no more than its output
    model = vit_l_16()
    model.heads.head = torch.nn.Linear(1024, 10)
    dtype = {"bf16-true": torch.bfloat16, "32-true": torch.float32}[settings["precision"]]
    model.to(dtype=dtype).to("cuda")
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-5)
    for _ in range(TRAINING_STEPS):
        model.train()
        logits = model(_images(settings, dtype))
        loss = torch.nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64).to("cuda"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        model(_images(settings, dtype))
    return {"max_reserved_bytes": torch.cuda.max_memory_reserved(), "max_allocated_bytes": torch.cuda.max_memory_allocated()}


def _images(settings: dict[str, Any], dtype: torch.dtype) -> torch.Tensor:
    """Return a batch: it goes to the card in 32 bits and is cast there by Fabric's forward."""
    size = settings["image"]
    return torch.zeros(settings["batch_size"], 3, size, size).to("cuda").to(dtype)
