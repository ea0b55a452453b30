"""Fine-tuning on one card with torchtune, by one of its own configurations.

Follows recipes/full_finetune_single_device.py and lora_finetune_single_device.py of the release that is installed: the model
is made on the card in the type of the configuration, layers are recomputed or offloaded, the loss is computed in pieces or in
one, and the optimizer steps at the end or inside of the backward pass. The values of the checkpoint are not loaded: they
would arrive in the tensors that are there.
"""

from __future__ import annotations

from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

VOCABULARY_ID = 5


def run(settings: dict[str, Any]) -> dict[str, Any]:
    """Train some steps; return the bytes reserved once the model is there, and the largest numbers active and reserved.

    The recipes log both for each step: the number is that of the last, in which nothing is compiled any more.
    """
    model = _model(settings)
    after_init = torch.cuda.max_memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    step = _stepper(model, settings)
    loss_of = _loss(model, settings)
    context = _offloading(model) if settings["offloading"] else nullcontext()
    logits, statistics = None, {}
    for number, length in enumerate(settings["tokens"], start=1):
        tokens, labels = _batch(settings, length), _batch(settings, length)
        with context:
            logits = model(tokens)
        loss, logits = loss_of(logits, labels)
        (loss / settings["accumulate"]).backward()
        if number % settings["accumulate"] == 0:
            step()
            statistics = torch.cuda.memory_stats()
            torch.cuda.reset_peak_memory_stats()
    return {
        "reserved_after_init_bytes": after_init,
        "max_active_bytes": statistics["active_bytes.all.peak"],
        "max_reserved_bytes": statistics["reserved_bytes.all.peak"],
    }


def _configuration(settings: dict[str, Any]) -> Any:
    """Return the configuration that the release ships, with what the row overrides in its model."""
    from omegaconf import OmegaConf

    spec = find_spec("torchtune")
    assert spec
    assert spec.origin
    folder = Path(spec.origin).parents[1] / "recipes/configs"
    configuration = OmegaConf.load(folder / f"{settings['config']}.yaml")
    configuration.model = OmegaConf.merge(configuration.model, settings["model"])
    return configuration


def _model(settings: dict[str, Any]) -> Any:
    """Make the model."""
    from torchtune import config, modules, utils

    tools, layer = utils, getattr(modules, "TransformerDecoderLayer", None)
    if layer is None:
        from torchtune import training as tools  # where the tools moved to

        layer = modules.TransformerSelfAttentionLayer
    configuration = _configuration(settings)
    with tools.set_default_dtype(torch.bfloat16), torch.device("cuda"):
        model = config.instantiate(configuration.model)
    if "lora" in settings["config"]:
        from torchtune.modules.peft import get_adapter_params, set_trainable_params

        set_trainable_params(model, get_adapter_params(model))
    if settings["compile"]:
        tools.compile_model(model, verbose=False)
    if settings["checkpointing"]:
        tools.set_activation_checkpointing(model, auto_wrap_policy={layer})
    return model.train()


def _stepper(model: Any, settings: dict[str, Any]) -> Any:
    """Return what is called once the gradients are there."""
    from torchtune import config

    description = _configuration(settings).optimizer
    if settings["optimizer"]:
        description = {"_component_": settings["optimizer"], "fused": True, "lr": 2e-5}

    def make(parameters: list[Any]) -> Any:
        from omegaconf import OmegaConf

        return config.instantiate(OmegaConf.create(description), parameters)

    if settings["optimizer_in_backward"]:
        optimizers = {parameter: make([parameter]) for parameter in model.parameters() if parameter.requires_grad}
        from torchtune import training

        training.register_optim_in_bwd_hooks(model=model, optim_dict=optimizers)
        return lambda: None
    optimizer = make([parameter for parameter in model.parameters() if parameter.requires_grad])

    def step() -> None:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _loss(model: Any, settings: dict[str, Any]) -> Any:
    """Return what makes the loss of logits and labels, and hands back which logits stay alive until the next batch."""
    if not settings["chunked_loss"]:
        return _loss_of_all if settings["keeps_logits"] else lambda logits, labels: (_entropy(logits, labels), None)
    from torchtune.modules.loss import CEWithChunkedOutputLoss

    function = CEWithChunkedOutputLoss()
    model.set_num_output_chunks(function.num_output_chunks)
    if settings["compile"]:
        from torchtune.training import compile_loss

        torch._dynamo.config.automatic_dynamic_shapes = False  # pieces begin at different places
        torch._dynamo.config.cache_size_limit = 64
        function = compile_loss(function)
    return lambda logits, labels: (function(logits, labels), None)


def _entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the loss in one piece, with the token axis flattened."""
    return cross_entropy(logits.flatten(0, 1), labels.flatten())


def _loss_of_all(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss as release 0.1.1 makes it, of a copy without the last token, and that copy."""
    logits = logits[..., :-1, :].contiguous().transpose(1, 2)
    return cross_entropy(logits, labels[..., 1:].contiguous()), logits


def _offloading(model: Any) -> Any:
    """Return torchtune's context that sends what is kept for the backward pass to the host, but what the head keeps."""
    from torchtune.training import get_act_offloading_ctx_manager

    return get_act_offloading_ctx_manager(model, enable_activation_offloading=True)


def _batch(settings: dict[str, Any], length: int) -> Tensor:
    """Return ids or labels on the card."""
    return torch.full((settings["batch_size"], length), VOCABULARY_ID).to("cuda")
