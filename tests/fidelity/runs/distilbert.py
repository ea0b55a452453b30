"""Fine-tuning of DistilBERT on reviews padded to 512 tokens, with Adam, in one precision throughout."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DistilBertConfig, DistilBertForSequenceClassification

TRAINING_STEPS = 3
TYPES = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def run(settings: dict[str, Any]) -> dict[str, Any]:
    """Train some steps and look at one validation batch; return the largest number of bytes reserved."""
    model = DistilBertForSequenceClassification(DistilBertConfig(num_labels=2)).to(TYPES[settings["precision"]]).to("cuda")
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-5)
    model.train()
    for _ in range(TRAINING_STEPS):
        outputs = model(**_batch(settings))
        optimizer.zero_grad()
        outputs["loss"].backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        model(**_batch(settings))
    return {"max_reserved_bytes": torch.cuda.max_memory_reserved(), "max_allocated_bytes": torch.cuda.max_memory_allocated()}


def _batch(settings: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return a batch, padded."""
    shape = (settings["batch_size"], settings["max_length"])
    mask = torch.ones(shape, dtype=torch.int64)
    mask[0, shape[1] // 2 :] = 0
    labels = torch.zeros(shape[0], dtype=torch.int64)
    return {"input_ids": torch.full(shape, 5).to("cuda"), "attention_mask": mask.to("cuda"), "labels": labels.to("cuda")}
