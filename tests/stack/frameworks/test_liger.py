"""Liger's Triton kernels run on the emulated card, in processes of their own: Liger changes transformers' classes for good."""

from __future__ import annotations

import pytest

from tests.stack.projects import cases, outcomes, sizes

pytestmark = [pytest.mark.stack]

PROJECT = """
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

CONFIG = LlamaConfig(hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4, vocab_size=32000)


@pytest.mark.vram
@pytest.mark.parametrize("kernels", ["transformers", "liger"])
def test_kernels(vram, kernels, tmp_path):
    ids = torch.arange(512)
    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=2, per_device_train_batch_size=2, report_to=[], save_strategy="no",
        use_liger_kernel=kernels == "liger",
    )
    trainer = Trainer(model=LlamaForCausalLM(CONFIG), args=arguments, train_dataset=[{"input_ids": ids, "labels": ids}] * 8)
    trainer.add_callback(vram.callback())
    trainer.train()
"""


@pytest.mark.long
def test_liger_trains_saves_memory_and_repeats(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process sees the same peaks to the byte; the fused loss keeps no logits, so the peak is lower than without."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytester.makepyfile(PROJECT)

    first, second = cases(pytester), cases(pytester)

    assert dict.fromkeys(["transformers", "liger"], ("PASS", None)) == outcomes(first)
    assert sizes(first) == sizes(second)
    assert sizes(first)["liger"] < sizes(first)["transformers"]
