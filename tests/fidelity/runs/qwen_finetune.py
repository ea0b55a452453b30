"""LoRA or full fine-tuning of the first Qwen, or of a Llama, with transformers' Trainer and PEFT on samples of given lengths.

Follows finetune.py of QwenLM/Qwen at 2df8e8a: bf16 with autocast, samples padded to the limit on the host, ids of 32 bits,
checkpointing, AdamW of the torch that the settings name. ms-swift's benchmark trains in the same way, on samples that are not
padded. Weights are made on the card in 16 bits, where the sources make them on the host and move them.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from adamw_of_torch_2_0 import OldAdamW
from qwen_model import Qwen, QwenConfig
from releases import no_init_weights
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments


class OrderedTrainer(Trainer):
    """Takes the samples in the order in which they are given."""

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        """Return what says the order."""
        return SequentialSampler(self.train_dataset)


class TrainerOfOldTorch(OrderedTrainer):
    """Trains with the optimizer that torch 2.0 had."""

    def create_optimizer(self) -> torch.optim.Optimizer:
        """Return it, for the parameters that Trainer's own would have."""
        made = super().create_optimizer()
        groups = [{key: group[key] for key in ("params", "weight_decay")} for group in made.param_groups]
        self.optimizer = OldAdamW(groups, lr=self.args.learning_rate, betas=(0.9, self.args.adam_beta2))
        return self.optimizer


def run(settings: dict[str, Any]) -> dict[str, Any]:
    """Train some steps; return the largest number of bytes reserved and allocated."""
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = _model(settings["config"])
    torch.set_default_dtype(torch.float32)
    if settings["lora"]:
        model = _with_lora(model, settings)
    samples = [sample(tokens) for tokens in settings["tokens"]]
    train(model, samples, settings)
    return {"max_reserved_bytes": torch.cuda.max_memory_reserved(), "max_allocated_bytes": torch.cuda.max_memory_allocated()}


def _model(config: dict[str, Any]) -> Any:
    """Make the model, one of transformers' own where the sizes have its names."""
    if "model_type" not in config:
        return Qwen(QwenConfig(**config))
    from transformers import AutoConfig, AutoModelForCausalLM

    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**config, use_cache=False))


def _with_lora(model: Any, settings: dict[str, Any]) -> Any:
    """Put LoRA on the model."""
    from peft import LoraConfig, get_peft_model

    lora = settings["lora"]
    config = LoraConfig(
        r=lora["r"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=lora["target_modules"],
        modules_to_save=lora.get("modules_to_save"),
        bias="none",
        task_type="CAUSAL_LM",
    )
    with no_init_weights():  # PEFT 0.5 draws numbers on the host for each weight that it then takes from the model
        adapted = get_peft_model(model, config)
    if settings["checkpointing"]:
        adapted.enable_input_require_grads()
    return adapted


def sample(tokens: int) -> dict[str, torch.Tensor]:
    """Return a sample of so many tokens."""
    ids = torch.full((tokens,), 5, dtype=torch.int32)
    return {"input_ids": ids, "labels": ids.long(), "attention_mask": torch.ones(tokens, dtype=torch.bool)}


def train(model: Any, samples: list[dict[str, torch.Tensor]], settings: dict[str, Any]) -> None:
    """Train with the Trainer."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            bf16=True,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=settings["accumulate"],
            gradient_checkpointing=settings["checkpointing"],
            num_train_epochs=1,
            learning_rate=3e-4,
            weight_decay=0.1,
            adam_beta2=0.95,
            lr_scheduler_type="cosine",
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            optim="adamw_torch",
        )
        trainer = TrainerOfOldTorch if settings.get("torch") == "2.0" else OrderedTrainer
        trainer(model=model, args=arguments, train_dataset=samples).train()
