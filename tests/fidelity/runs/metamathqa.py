"""Training steps and answers as the MetaMathQA comparison of PEFT makes them, with given lengths.

Follows method_comparison/MetaMathQA/run.py and utils.py of huggingface/peft, read at 5fe7f8f8a (cache emptied after every
step), at 8be1a16f5 (after every tenth) and at d787f51bb: what is alive, and in which order it comes and goes.
"""

from __future__ import annotations

import gc
from contextlib import nullcontext
from typing import Any

import stand_ins
import torch
from transformers import AutoModelForCausalLM, get_cosine_schedule_with_warmup

from pytest_vramguard.models import load_models
from pytest_vramguard.recipes.phantom import phantom_store
from pytest_vramguard.recipes.releases import DTYPE_KEY

WIKI_BATCH = (4, 768)
"""Shape of the largest batch that measures the loss on Wikipedia."""
WIKI_BATCHES = 3
"""Of 25, since from the second on the former's logits are alive."""
VALIDATION_NEW_TOKENS = 2
"""Of an answer on the way: what the question needs is more than what steps left in the cache, the rest of the answer is not."""


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
    if train.get("init_kv_cache_prefix"):
        _prefix_from_text(model, train["init_kv_cache_prefix"])
    model.eval()
    if settings["wiki_loss_passes"]:
        with model.disable_adapter() if settings["wiki_loss_of_base"] and hasattr(model, "peft_config") else nullcontext():
            _wiki_loss(model)
    _outputs, allocated, reserved = _steps(model, optimizer, settings)  # which live until the function ends, as there
    model.eval()
    for tokens in settings["tests"]:
        _answer(model, tokens, train["batch_size_eval"], train["generation_kwargs"])
    if settings["wiki_loss_passes"]:
        _wiki_loss(model)
    return {
        "allocated_bytes": [count - start_bytes for count in allocated],
        "reserved_bytes": [count - start_bytes for count in reserved],
        "max_reserved_bytes": torch.cuda.max_memory_reserved() - start_bytes,
    }


def _steps(model: Any, optimizer: Any, settings: dict[str, Any]) -> tuple[Any, list[int], list[int]]:
    """Do the steps; return the last outputs, and the bytes allocated and reserved after each step."""
    train = settings["train_config"]
    scheduler = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=500, num_training_steps=5000)
    allocates = settings["method"] in ("ADALORA", "ADAMSS") and hasattr(model.base_model, "update_and_allocate")
    allocated, reserved = [], []
    outputs = None
    model.train()
    gc.collect()
    gc.freeze()  # the steps' own garbage is collected as in the original; what is there already takes most of the time
    for step, lengths in settings["steps"]:
        batch = _batch(lengths)
        items = batch["attention_mask"].sum().item()
        optimizer.zero_grad()
        outputs = model(**batch, num_items_in_batch=items)  # the former outputs live until this one is there
        loss = outputs.loss
        loss.backward()
        if train["grad_norm_clip"]:
            torch.nn.utils.clip_grad_norm_(model.parameters(), train["grad_norm_clip"])
        optimizer.step()
        scheduler.step()
        if allocates:
            model.base_model.update_and_allocate(step)
        loss.item()
        allocated.append(torch.cuda.memory_allocated())
        reserved.append(torch.cuda.memory_reserved())
        if step in settings["validated_after"]:
            model.eval()
            _answer(model, settings["validation"], train["batch_size_eval"], {"max_new_tokens": VALIDATION_NEW_TOKENS})
            model.train()
        if step % settings["empty_cache_every"] == 0:
            torch.cuda.empty_cache()
            if settings["empty_cache_every"] == 1:
                gc.collect()
    return outputs, allocated, reserved


def _model(settings: dict[str, Any]) -> Any:
    """Load the base model, and put the adapter on it."""
    train = settings["train_config"]
    model = _base_model(settings["model"], train)
    if train.get("use_gc"):
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable()
    if settings["adapter_config"] is None:
        return model
    import peft

    stand_ins.put_in(settings["method"])
    adapter = _adapter_config(settings["adapter_config"])
    return peft.get_peft_model(model, adapter, autocast_adapter_dtype=train["autocast_adapter_dtype"])


def _base_model(name: str, train: dict[str, Any]) -> Any:
    """Load the base model from a checkpoint without values, quantised where the row says so."""
    from transformers import AutoConfig, BitsAndBytesConfig

    config = AutoConfig.for_model(**_deep(load_models().find(name).config))
    quantised = {"int4": {"load_in_4bit": True}, "int8": {"load_in_8bit": True}}.get(train["dtype"])
    dtype = getattr(torch, train["dtype"] if quantised is None else "bfloat16")
    AutoModelForCausalLM._model_mapping[type(config)]
    loaded_as = {DTYPE_KEY: dtype} if quantised is None else {"quantization_config": BitsAndBytesConfig(**quantised)}
    return AutoModelForCausalLM.from_pretrained(
        phantom_store().folder(config, dtype),
        device_map="cuda",
        attn_implementation=train["attn_implementation"],
        **loaded_as,
    )


def _adapter_config(settings: dict[str, Any]) -> Any:
    """Return the configuration of the adapter, without what this release of PEFT does not know and the row leaves empty.

    Rows come from development versions. A setting that the release does not know and that is not empty ends the run.
    """
    import peft
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    kind = PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(settings["peft_type"])]
    return kind(**{name: value for name, value in settings.items() if value or name in kind.__dataclass_fields__})


def _deep(mapping: Any) -> Any:
    """Return plain copies, since transformers writes into them."""
    if isinstance(mapping, dict):
        return {key: _deep(value) for key, value in mapping.items()}
    return mapping


def _optimizer(model: Any, train: dict[str, Any]) -> Any:
    """Make the optimizer."""
    kind, arguments = train["optimizer_type"], train["optimizer_kwargs"]
    if kind == "lora-fa":
        from peft.optimizers import create_lorafa_optimizer

        return create_lorafa_optimizer(model, **arguments)
    if kind == "lora+":
        from peft.optimizers import create_loraplus_optimizer

        return create_loraplus_optimizer(model, optimizer_cls=torch.optim.AdamW, **arguments)
    if kind == "riemannian":
        from peft.optimizers import create_riemannian_optimizer

        return create_riemannian_optimizer(model, optimizer_cls=torch.optim.AdamW, **arguments)
    return getattr(torch.optim, kind)(model.parameters(), **arguments)


def _prefix_from_text(model: Any, text: str) -> None:
    """Begin the prefix as the original does, with as many tokens as the prefix is long: which ones they are is of no matter."""
    from types import SimpleNamespace

    from peft.tuners.cartridge.utils import initialize_kv_prefix_from_text

    count = model.active_peft_config.num_virtual_tokens
    ids = torch.full((1, count), 5)
    tokenizer = SimpleNamespace(apply_chat_template=lambda *_, **__: ids)
    initialize_kv_prefix_from_text(model, tokenizer, text=text)


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
def _answer(model: Any, tokens: int, count: int, limits: dict[str, int]) -> None:
    """Answer a batch of questions, the longest of so many tokens, padded on the left; no answer ends before its limit."""
    from transformers import GenerationConfig

    batch = _batch([tokens] + [tokens // 2] * (count - 1))
    mask = batch["attention_mask"].flip(1)
    model.generation_config.eos_token_id = None
    config = GenerationConfig(**limits, pad_token_id=5)
    model.generate(input_ids=batch["input_ids"], attention_mask=mask, generation_config=config)


@torch.inference_mode()
def _wiki_loss(model: Any) -> None:
    """Do what measures the loss on Wikipedia, for its largest batch, as often as makes a difference."""
    for _ in range(WIKI_BATCHES):
        batch = _batch([WIKI_BATCH[1]] * WIKI_BATCH[0])
        outputs = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])  # beside the former's logits
        logits = outputs.logits
        for logit, target in zip(logits, batch["input_ids"], strict=True):
            of_tokens = logit[-len(target) :]  # those of virtual tokens stand before
            token_losses = torch.nn.functional.cross_entropy(of_tokens[:-1], target[1:], reduction="none")  # noqa: F841 # lives on
