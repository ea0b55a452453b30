"""`transformers.Trainer` runs unmodified, whatever adapter, optimizer or compilation it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import (
    PeftConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
    prepare_model_for_kbit_training,
)
from torch._dynamo.utils import counters
from transformers import BitsAndBytesConfig, LlamaForCausalLM, Trainer, TrainingArguments, default_data_collator

from tests.stack.frameworks import tiny

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_vramguard.recipes.callback import StepCallback
    from tests.stack.frameworks.conftest import Runner

pytestmark = [pytest.mark.stack]

STEPS = 3
LENGTH = 128


class Bigrams(torch.nn.Module):
    """Guesses each token from the one before it: a model whose step compiles within seconds."""

    def __init__(self) -> None:
        """Make weights at random."""
        super().__init__()
        self.embedding = torch.nn.Embedding(2048, 256)
        self.head = torch.nn.Linear(256, 2048)

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor, **_ignored: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the loss, as a Trainer takes it."""
        logits = self.head(torch.nn.functional.gelu(self.embedding(input_ids)))
        return {"loss": torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())}


def rows() -> list[dict[str, torch.Tensor]]:
    """Return samples of one length, whose first tokens bear no loss."""
    ids = torch.arange(LENGTH) % 2000
    return [{"input_ids": ids, "labels": ids.where(ids > 20, -100), "attention_mask": torch.ones_like(ids)}] * 64


def train(model: Any, folder: Path, callback: StepCallback, **settings: Any) -> None:
    """Train `model` for a few steps."""
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=STEPS, report_to="none", save_strategy="no", **{"bf16": True, **settings}
    )
    Trainer(
        model=model, args=arguments, train_dataset=rows(), data_collator=default_data_collator, callbacks=[callback]
    ).train()


@pytest.mark.parametrize(
    "config",
    [
        tiny.lora(),
        tiny.lora(use_dora=True),
        PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=8),
        PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=8),
        PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=8, encoder_hidden_size=128),
        None,
    ],
    ids=["LoRA", "DoRA", "prompt tuning", "prefix tuning", "p-tuning", "full"],
)
def test_what_is_trained(twice: Runner, tmp_path: Path, config: PeftConfig | None) -> None:
    """Adapters, prompts and all weights train in the Trainer."""

    def run(callback: StepCallback) -> None:
        model = tiny.model()
        train(model if config is None else get_peft_model(model, config), tmp_path, callback)

    assert STEPS == twice(run).reading.step_count


@pytest.mark.parametrize(
    "optimizer", ["adamw_bnb_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "adafactor", "lion_8bit", "ademamix_8bit"]
)
def test_optimizers(twice: Runner, tmp_path: Path, optimizer: str) -> None:
    """The optimizers that save memory train a whole model."""

    def run(callback: StepCallback) -> None:
        train(tiny.model(), tmp_path, callback, optim=optimizer)

    assert STEPS == twice(run).reading.step_count


def test_gradient_accumulation(twice: Runner, tmp_path: Path) -> None:
    """Micro-batches are one step together, with gradients kept between them."""

    def run(callback: StepCallback) -> None:
        train(tiny.model(), tmp_path, callback, gradient_accumulation_steps=4, per_device_train_batch_size=2, optim="sgd")

    assert STEPS == twice(run).reading.step_count


@pytest.mark.parametrize(
    "quantization",
    [
        BitsAndBytesConfig(load_in_8bit=True),
        BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True),
    ],
    ids=["int8", "nf4"],
)
def test_quantised(twice: Runner, tmp_path: Path, quantization: BitsAndBytesConfig) -> None:
    """A quantised base with LoRA and checkpointing trains from a saved checkpoint."""
    tiny.model(dtype=torch.bfloat16).save_pretrained(tmp_path / "base")

    def run(callback: StepCallback) -> None:
        base = LlamaForCausalLM.from_pretrained(tmp_path / "base", quantization_config=quantization, device_map={"": 0})
        model = get_peft_model(prepare_model_for_kbit_training(base), tiny.lora())
        train(model, tmp_path, callback, gradient_checkpointing=True, optim="paged_adamw_8bit")

    assert STEPS == twice(run).reading.step_count


@pytest.mark.long
def test_compiled(twice: Runner, tmp_path: Path) -> None:
    """`torch_compile` makes Inductor and Triton compile the step for the card."""
    counters["stats"].clear()

    found = twice(lambda callback: train(Bigrams(), tmp_path, callback, torch_compile=True))

    assert STEPS == found.reading.step_count
    assert counters["stats"]["unique_graphs"]
