"""PEFT's methods train on the emulated card, and a repetition agrees to the byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.stack.projects import cases, outcomes, sizes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.stack]

PROJECT = """
import peft
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

ATTENTION = ["q_proj", "v_proj"]
METHODS = {
    "BOFT": peft.BOFTConfig(boft_block_size=4, target_modules=ATTENTION),
    "DoRA": peft.LoraConfig(use_dora=True, target_modules=ATTENTION),
    "FourierFT": peft.FourierFTConfig(n_frequency=100, target_modules=ATTENTION),
    "IA3": peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "LoHa": peft.LoHaConfig(target_modules=ATTENTION),
    "LoKr": peft.LoKrConfig(target_modules=ATTENTION),
    "OFT": peft.OFTConfig(oft_block_size=32, target_modules=ATTENTION),
    "PiSSA": peft.LoraConfig(init_lora_weights="pissa", target_modules=ATTENTION),
    "VeRA": peft.VeraConfig(target_modules=ATTENTION),
    "prefix tuning": peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=8),
    "prompt tuning": peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=8),
}
CONFIG = LlamaConfig(
    hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=1000
)


@pytest.mark.vram
@pytest.mark.parametrize("method", METHODS)
def test_method(vram, method, tmp_path):
    with vram.phase("load"):
        model = peft.get_peft_model(LlamaForCausalLM(CONFIG).to("cuda"), METHODS[method])
    ids = torch.arange(64)
    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=2, per_device_train_batch_size=2, report_to=[], save_strategy="no"
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=[{"input_ids": ids, "labels": ids}] * 8)
    trainer.add_callback(vram.callback())
    trainer.train()
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that trains each method for two steps, on a machine without a compiler for CUDA.

    PEFT would compile a kernel for BOFT if it found one, for a minute, and goes on without it.
    """
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PATH", "")
    pytester.makepyfile(PROJECT)
    return pytester.path


@pytest.mark.long
@pytest.mark.usefixtures("project")
def test_every_method_trains_and_repeats(pytester: pytest.Pytester) -> None:
    """Each method trains two steps and passes; a second process sees the same peaks to the byte."""
    first, second = cases(pytester), cases(pytester)

    assert dict.fromkeys(outcomes(first), ("PASS", None)) == outcomes(first)
    assert 11 == len(first)
    assert sizes(first) == sizes(second)
    assert all(min(found) > 0 for found in sizes(first).values())
