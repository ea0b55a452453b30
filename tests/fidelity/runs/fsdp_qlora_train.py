"""LoRA and QLoRA below FSDP on several cards, as Answer.AI's script trains, each rank in a process of its own.

Follows train.py of AnswerDotAI/fsdp_qlora at 05ed9f2, in the order in which it makes and moves things: rank 0 has the weights
on the host and the others none; bitsandbytes quantises a weight at a time on the card, nf4 with quantised statistics, stored in
bfloat16; PEFT; FSDP, which moves, sends, flattens and shards a unit at a time; checkpoints below it; AdamW on what is sharded.
Weights have no values and no bytes on the host, and arrive one after the other, where the source has some threads load them.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointImpl,
    apply_activation_checkpointing,
    checkpoint_wrapper,
    offload_wrapper,
)
from torch.distributed.fsdp import CPUOffload, FullyShardedDataParallel, ShardingStrategy
from torch.distributed.fsdp.wrap import _or_policy, lambda_auto_wrap_policy, transformer_auto_wrap_policy
from transformers.models.llama.modeling_llama import LlamaDecoderLayer
from transformers.models.mistral.modeling_mistral import MistralDecoderLayer

if TYPE_CHECKING:
    from collections.abc import Iterator

LAYERS = (LlamaDecoderLayer, MistralDecoderLayer)
STEPS = 4
"""After which the source's table was read."""
PATIENCE = timedelta(minutes=5)
"""How long a rank waits for another one: they do the same work, but share the processor."""
TOKEN = 5
DEVICE = torch.device("cuda", 0)
"""Each process sees one card, its own."""


def run(settings: dict[str, Any]) -> dict[str, Any]:
    """Train as one rank, the first with the others beside it; return what that rank's card has reserved and allocated."""
    rank, world_size = settings.get("rank", 0), settings["world_size"]
    store = dist.TCPStore(
        "localhost", settings.get("port", 0), world_size, is_master=rank == 0, wait_for_workers=False, timeout=PATIENCE
    )
    with _other_ranks(settings, store.port) if rank == 0 else nullcontext(), _pinned_without_copies():
        dist.init_process_group("nccl", store=store, rank=rank, world_size=world_size, timeout=PATIENCE)
        counted = _train(settings, rank)
        dist.destroy_process_group()
    return counted


@contextmanager
def _other_ranks(settings: dict[str, Any], port: int) -> Iterator[None]:
    """Run the other ranks, each in a process like this one; end them if this one fails."""
    child = str(Path(__file__).with_name("child.py"))
    with tempfile.TemporaryDirectory(prefix="vramguard-ranks-") as name:
        processes = []
        for rank in range(1, settings["world_size"]):
            order = Path(name, f"order-{rank}.json")
            own = {**settings, "rank": rank, "port": port}
            order.write_text(json.dumps({"run": Path(__file__).stem, "card": settings["card"], "settings": own}))
            command = [sys.executable, "-W", "ignore", child, str(order), str(Path(name, f"answer-{rank}.json"))]
            processes.append(subprocess.Popen(command))
        try:
            yield
            for process in processes:
                process.wait(PATIENCE.total_seconds())
        finally:
            for process in processes:
                process.kill()
                process.wait()


@contextmanager
def _pinned_without_copies() -> Iterator[None]:
    """Pin host memory without a copy into it: what FSDP offloads has no values, and pages that nobody writes take no room."""
    pin_memory = torch.Tensor.pin_memory
    torch.Tensor.pin_memory = lambda tensor, *_: torch.empty_like(tensor, pin_memory=True)  # type: ignore[assignment,misc] # as above
    try:
        yield
    finally:
        torch.Tensor.pin_memory = pin_memory  # type: ignore[method-assign] # as it was


def _train(settings: dict[str, Any], rank: int) -> dict[str, Any]:
    """Train some steps; return the bytes reserved before the first, and the largest numbers reserved and allocated in them."""
    model = _sharded(_adapted(_loaded(settings, rank), settings, rank), settings, rank)
    dist.barrier()
    _apply_checkpoints(model, settings["checkpointing"])
    if settings["offloads_activations"]:
        model = offload_wrapper(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.1)
    after_wrap = torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    model.train()
    losses = torch.zeros(2).to(DEVICE)
    reserved = []
    for _ in range(STEPS):
        _step(model, optimizer, losses, (settings["batch_size"], settings["tokens"]))
        losses = torch.zeros(2).to(DEVICE)
        reserved.append(torch.cuda.max_memory_reserved())
    return {
        "reserved_after_wrap_bytes": after_wrap,
        "max_reserved_bytes_by_step": reserved,
        "max_reserved_bytes": torch.cuda.max_memory_reserved(),
        "max_allocated_bytes": torch.cuda.max_memory_allocated(),
    }


def _step(model: Any, optimizer: Any, losses: Tensor, shape: tuple[int, int]) -> None:
    """Train one batch, and tell the other ranks its loss."""
    ids, labels = torch.full(shape, TOKEN), torch.full(shape, TOKEN)
    output = model(ids.to(DEVICE), labels=labels.to(DEVICE), attention_mask=None)
    loss = output.loss / 1
    loss.backward()
    losses[0] += loss.item() * shape[0]
    losses[1] += shape[0]
    optimizer.step()
    optimizer.zero_grad()
    output = loss = None
    dist.all_reduce(losses, op=dist.ReduceOp.SUM)


# ---- the model ----


def _loaded(settings: dict[str, Any], rank: int) -> Any:
    """Return the model on the host of rank 0, without tensors elsewhere; where it is quantised, its statistics on each card."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**settings["config"], use_cache=False)
    place = torch.device("cpu" if rank == 0 else "meta")
    options = {"attn_implementation": "sdpa"}
    if settings["quantized"]:
        with init_empty_weights():
            model = AutoModelForCausalLM.from_config(config, **options)
            _replace_linear(model.model)
        model.is_loaded_in_4bit = True
        _quantize(model, place)
        torch.cuda.empty_cache()
        return model
    with init_empty_weights():
        model = AutoModelForCausalLM.from_config(config, torch_dtype=torch.bfloat16, **options)
    model.to(torch.bfloat16)
    for module, name, parameter in _parameters(model):
        setattr(module, name, type(parameter)(torch.empty(parameter.shape, dtype=torch.bfloat16, device=place)))
    return model


def _parameters(model: nn.Module) -> list[tuple[nn.Module, str, nn.Parameter]]:
    """Return each parameter with its module and its name there."""
    return [
        (module, name, parameter)
        for module in model.modules()
        for name, parameter in list(module.named_parameters(recurse=False))
    ]


def _replace_linear(module: nn.Module) -> None:
    """Put a layer of bitsandbytes in the place of every linear layer below a module."""
    from bitsandbytes.nn import Linear4bit

    for name, child in module.named_children():
        if type(child) is nn.Linear:
            sizes = (child.in_features, child.out_features, child.bias is not None)
            options = {"compute_dtype": torch.bfloat16, "quant_type": "nf4", "quant_storage": torch.bfloat16}
            setattr(module, name, Linear4bit(*sizes, **options))
        else:
            _replace_linear(child)


def _quantize(model: nn.Module, place: torch.device) -> None:
    """Let each weight arrive: on the card where it is quantised, of which its place gets the result; else in its place."""
    from bitsandbytes.nn import Params4bit

    for module, name, parameter in _parameters(model):
        arriving = torch.empty(parameter.shape, dtype=torch.bfloat16)
        if isinstance(parameter, Params4bit):
            packed = Params4bit(arriving.to(DEVICE), **parameter.__dict__).cuda(DEVICE)
            setattr(module, name, Params4bit(packed.data.to(place), **packed.__dict__))
        else:
            setattr(module, name, type(parameter)(arriving.to(place)))


def _adapted(model: Any, settings: dict[str, Any], rank: int) -> Any:
    """Return the model with LoRA, whose matrices nobody fills on the host, but for zeros."""
    from peft import LoraConfig, TaskType, get_peft_model
    from releases import no_init_weights

    lora = settings["lora"]
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        inference_mode=False,
        r=lora["r"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=lora["target_modules"],
    )
    with _statistics_that_stay(model) if rank else nullcontext(), no_init_weights():
        return get_peft_model(model, config)


@contextmanager
def _statistics_that_stay(model: nn.Module) -> Iterator[None]:
    """Keep the statistics of quantised weights on the card, while PEFT moves what stands beside weights without a place."""
    states = [state for p in model.parameters() if (state := getattr(p, "quant_state", None)) is not None]
    for state in states:
        state.to = lambda *_args, **_options: None
    try:
        yield
    finally:
        for state in states:
            del state.to


# ---- FSDP ----


def _sharded(model: Any, settings: dict[str, Any], rank: int) -> Any:
    """Return the model below FSDP: each decoder layer is a unit, and in it each matrix of LoRA."""
    policies = [
        functools.partial(lambda_auto_wrap_policy, lambda_fn=_is_trained_leaf),
        functools.partial(transformer_auto_wrap_policy, transformer_layer_cls=LAYERS),
    ]
    return FullyShardedDataParallel(
        model,
        sharding_strategy=getattr(ShardingStrategy, settings["strategy"]),
        auto_wrap_policy=functools.partial(_or_policy, policies=policies),
        use_orig_params=False,
        cpu_offload=CPUOffload(offload_params=True) if settings["offloads_parameters"] else None,
        limit_all_gathers=True,
        device_id=DEVICE,
        sync_module_states=True,
        param_init_fn=_on_card if rank else None,
    )


def _is_trained_leaf(module: nn.Module) -> bool:
    """Return whether a module has no modules in it and a weight that is trained."""
    weight = getattr(module, "weight", None)
    return not list(module.children()) and weight is not None and bool(weight.requires_grad)


def _on_card(module: nn.Module) -> None:
    """Make room on the card for what arrives from rank 0."""
    module.to_empty(device=torch.device("cuda"), recurse=False)


def _apply_checkpoints(model: Any, kind: str | None) -> None:
    """Have decoder layers recomputed, if they shall be."""
    if kind is None:
        return
    if kind == "REENTRANT":
        model.enable_input_require_grads()
    wrapper = functools.partial(checkpoint_wrapper, checkpoint_impl=CheckpointImpl[kind])
    apply_activation_checkpointing(model, checkpoint_wrapper_fn=wrapper, check_fn=lambda module: isinstance(module, LAYERS))
