"""TRL's trainers run with their default settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from datasets import Dataset
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from tests.stack.frameworks import tiny

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_vramguard.recipes.callback import StepCallback
    from tests.stack.frameworks.conftest import Runner

pytestmark = [pytest.mark.stack]

STEPS = 3


@pytest.mark.parametrize(
    "settings",
    [{}, {"packing": True, "max_length": 256}, {"assistant_only_loss": True}, {"padding_free": True, "max_length": None}],
    ids=["default", "packing", "assistant only", "padding free"],
)
def test_sft(twice: Runner, tmp_path: Path, settings: dict[str, Any]) -> None:
    """`SFTTrainer` trains a LoRA with the loss of its default, which gathers the labelled positions by a mask."""

    def train(callback: StepCallback) -> None:
        arguments = SFTConfig(output_dir=str(tmp_path), max_steps=STEPS, report_to="none", **settings)
        SFTTrainer(
            tiny.model(),
            arguments,
            train_dataset=Dataset.from_list(tiny.conversations(64)),
            processing_class=tiny.tokenizer(),
            peft_config=tiny.lora(),
            callbacks=[callback],
        ).train()

    assert STEPS == twice(train).reading.step_count


def test_dpo(twice: Runner, tmp_path: Path) -> None:
    """`DPOTrainer` trains a LoRA against its own base model as reference."""

    def train(callback: StepCallback) -> None:
        arguments = DPOConfig(output_dir=str(tmp_path), max_steps=STEPS, report_to="none")
        DPOTrainer(
            tiny.model(),
            args=arguments,
            train_dataset=Dataset.from_list(tiny.preferences(32)),
            processing_class=tiny.tokenizer(),
            peft_config=tiny.lora(),
            callbacks=[callback],
        ).train()

    assert STEPS == twice(train).reading.step_count
