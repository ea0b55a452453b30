"""Training steps as the MetaMathQA comparison of PEFT does them, with given lengths.

Follows method_comparison/MetaMathQA/run.py and utils.py of huggingface/peft, read at 5fe7f8f8a (cache emptied after every step)
and at 5d602fdb (after every tenth): what is alive, and in which order it comes and goes.
"""

from __future__ import annotations

import gc
from typing import Any

import torch
from transformers import AutoModelForCausalLM, get_cosine_schedule_with_warmup

from pytest_vramguard.models import load_models
from pytest_vramguard.recipes.phantom import phantom_store
from pytest_vramguard.recipes.releases import DTYPE_KEY

WIKI_BATCH = (4, 768)
"""Shape of the largest batch that measures the loss on Wikipedia."""
GENERATION_BATCH = 50


def run(settings: dict[str, Any]) -> dict[str, Any]:
    """Train on batches of the given lengths; return the bytes allocated and reserved after each step, and the largest reserved.

    Bytes are those above the 2 MiB segment that the comparison makes before it starts to count.
    """
    train = settings["train_config"]
    torch.manual_seed(0)
    torch.nn.Linear(1, 1).to("cuda")
    torch.cuda.reset_peak_memory_stats()
    start_bytes = torch.cuda.max_memory_reserved()
    model = _model(settings)
    optimizer = _optimizer(model, train)
    scheduler = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=500, num_training_steps=5000)
    if settings["wiki_loss_passes"]:
        model.eval()
        _wiki_loss(model)
    model.train()
    allocated, reserved = [], []
    outputs = None
    for step, lengths in settings["steps"]:
        batch = _batch(lengths)
        items = batch["attention_mask"].sum().item()
        optimizer.zero_grad()
        outputs = model(**batch, num_items_in_batch=items)  # the former outputs live until this one is there
        loss = outputs.loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), train["grad_norm_clip"])
        optimizer.step()
        scheduler.step()
        if hasattr(getattr(model, "base_model", None), "update_and_allocate") and settings["method"] in ("ADALORA", "ADAMSS"):
            model.base_model.update_and_allocate(step)
        loss.item()
        allocated.append(torch.cuda.memory_allocated() - start_bytes)
        reserved.append(torch.cuda.memory_reserved() - start_bytes)
        if step % settings["empty_cache_every"] == 0:
            torch.cuda.empty_cache()
            if settings["empty_cache_every"] == 1:
                gc.collect()
    training_max = torch.cuda.max_memory_reserved() - start_bytes
    if settings.get("generated_tokens"):
        model.eval()
        _generate(model, settings)
    return {
        "allocated_bytes": allocated,
        "reserved_bytes": reserved,
        "max_reserved_training_bytes": training_max,
        "max_reserved_bytes": torch.cuda.max_memory_reserved() - start_bytes,
    }


def _model(settings: dict[str, Any]) -> Any:
    """Load the base model, and put the adapter on it."""
    from transformers import AutoConfig

    facts = load_models().find(settings["model"])
    config = AutoConfig.for_model(**_deep(facts.config))
    dtype = getattr(torch, settings["train_config"]["dtype"])
    AutoModelForCausalLM._model_mapping[type(config)]
    folder = phantom_store().folder(config, dtype)
    model = AutoModelForCausalLM.from_pretrained(
        folder, device_map="cuda", attn_implementation=settings["train_config"]["attn_implementation"], **{DTYPE_KEY: dtype}
    )
    if settings["train_config"].get("use_gc"):
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable()
    if settings["adapter_config"] is None:
        return model
    import peft

    adapter = peft.PeftConfig.from_peft_type(**settings["adapter_config"])
    return peft.get_peft_model(model, adapter, autocast_adapter_dtype=settings["train_config"]["autocast_adapter_dtype"])


def _deep(mapping: Any) -> Any:
    """Return plain copies, since transformers writes into them."""
    if isinstance(mapping, dict):
        return {key: _deep(value) for key, value in mapping.items()}
    return mapping


def _optimizer(model: Any, train: dict[str, Any]) -> Any:
    """Make the optimizer."""
    if train["optimizer_type"] == "lora-fa":
        from peft.optimizers import create_lorafa_optimizer

        return create_lorafa_optimizer(model, **train["optimizer_kwargs"])
    return getattr(torch.optim, train["optimizer_type"])(model.parameters(), **train["optimizer_kwargs"])


def _batch(lengths: list[int]) -> dict[str, torch.Tensor]:
    """Return a batch padded on the right, as the tokenizer makes it on the host; labels are made on the card."""
    longest = max(lengths)
    ids = torch.full((len(lengths), longest), 5)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
    batch = {"input_ids": ids.to("cuda"), "attention_mask": mask.to("cuda")}
    labels = batch["input_ids"].clone()
    for row, length in enumerate(lengths):
        labels[row, length + 1 :] = -100
    return {**batch, "labels": labels}


@torch.inference_mode()
def _wiki_loss(model: Any) -> None:
    """Do what measures the loss on Wikipedia, with the adapter off, for its largest batch."""
    from contextlib import nullcontext

    with model.disable_adapter() if hasattr(model, "peft_config") else nullcontext():
        batch = _batch([WIKI_BATCH[1]] * WIKI_BATCH[0])
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        for logit, target in zip(logits, batch["input_ids"], strict=True):
            torch.nn.functional.cross_entropy(logit[:-1], target[1:], reduction="none")


@torch.inference_mode()
def _generate(model: Any, settings: dict[str, Any]) -> None:
    """Generate for a batch of questions, as each evaluation does."""
    batch = _batch([settings["question_tokens"]] * GENERATION_BATCH)
    model.generate(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        max_new_tokens=settings["generated_tokens"],
        min_new_tokens=settings["generated_tokens"],
        pad_token_id=128001,
    )
