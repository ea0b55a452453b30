"""A `transformers.Trainer` of one's own: the callback tells vramguard where each step begins and ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

if TYPE_CHECKING:
    from pytest_vramguard.guard import Case

TRAVEL = Path(__file__).parent / "data/travel.jsonl"
LENGTH = 256


def tiny_llama() -> LlamaForCausalLM:
    """Return a model of 110 million parameters in fp32; its weights are made on the card, at random."""
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        tie_word_embeddings=True,
    )
    with torch.device("cuda"):
        return LlamaForCausalLM(config)


def travel_samples() -> list[dict[str, list[int]]]:
    """Return the rows as token ids, where a token is a byte of text, each padded to `LENGTH`."""
    rows = [json.loads(line) for line in TRAVEL.read_text(encoding="utf-8").splitlines()]
    texts = [f"{row['instruction']}\n{row['output']}".encode()[:LENGTH].ljust(LENGTH, b"\0") for row in rows]
    return [{"input_ids": list(text), "labels": list(text)} for text in texts]


@pytest.mark.vram(max_gb=3.5)
def test_own_trainer_fits(vram: Case, tmp_path: Path) -> None:
    """Full fine-tuning of a 110M model, eight rows a step in two micro-batches, stays under 3.5 GiB."""
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=4,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        bf16=True,
        save_strategy="no",
        report_to=[],
    )
    with vram.phase("load"):
        trainer = Trainer(model=tiny_llama(), args=arguments, train_dataset=travel_samples(), callbacks=[vram.callback()])
    trainer.train()
