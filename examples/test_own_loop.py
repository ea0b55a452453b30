"""A training loop of one's own: no Trainer, no recipe. Only `vram.phase` and `vram.step` are added to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peft import PeftModel

    from pytest_vramguard.guard import Case

TRAVEL = Path(__file__).parent / "data/travel.jsonl"
BATCH_ROWS, LENGTH = 4, 512


def small_llama() -> PeftModel:
    """Return a model of 1.1 billion parameters with a LoRA adapter; its weights are made on the card, at random."""
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=22,
        num_attention_heads=32,
        num_key_value_heads=4,
    )
    with torch.device("cuda"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    return get_peft_model(model, LoraConfig(r=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))


def travel_batches(count: int) -> Iterator[torch.Tensor]:
    """Yield `count` batches of token ids on the card; a token is a byte of text, and rows are padded to `LENGTH`."""
    rows = [json.loads(line) for line in TRAVEL.read_text(encoding="utf-8").splitlines()[: count * BATCH_ROWS]]
    texts = [f"{row['instruction']}\n{row['output']}".encode()[:LENGTH].ljust(LENGTH, b"\0") for row in rows]
    ids = torch.tensor([list(text) for text in texts])
    for batch in ids.split(BATCH_ROWS):
        yield batch.cuda()


@pytest.mark.vram(band=(0.4, 0.7))
def test_own_loop_leaves_room(vram: Case) -> None:
    """A 1B model in 16 bits, four rows of 512 tokens without checkpointing, takes about half of a card with 12 or 16 GB."""
    with vram.phase("load"):
        model = small_llama()
        optimizer = torch.optim.AdamW((weight for weight in model.parameters() if weight.requires_grad), lr=2e-4)
    for ids in travel_batches(4):
        with vram.step(tokens=ids.numel()):
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
