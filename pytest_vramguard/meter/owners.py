"""Whose memory is it: addresses of weights, gradients and optimizer states, asked of the living objects."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Final

from torch import Tensor, nn

from pytest_vramguard.meter.blocks import Owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch.optim import Optimizer

NESTING: Final = 3
"""How deep tensors are looked for inside the attributes of a parameter: bitsandbytes' double quantisation nests two states."""


def gradients_of(optimizer: Optimizer) -> dict[int, Owner]:
    """Return the addresses of the gradients that `optimizer` is about to use."""
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    return _addresses((parameter.grad for parameter in parameters if parameter.grad is not None), Owner.GRADIENTS)


def states_of(optimizer: Optimizer) -> dict[int, Owner]:
    """Return the addresses of the state tensors of `optimizer`."""
    return _addresses((tensor for state in optimizer.state.values() for tensor in _tensors_in(state, NESTING)), Owner.OPTIMIZER)


def module_memory() -> dict[int, Owner]:
    """Return the addresses of parameters, buffers and gradients of every module that is alive in this process."""
    gradients: dict[int, Owner] = {}
    weights: dict[int, Owner] = {}
    for module in _living_modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is None:
                continue
            weights |= _addresses(_with_attributes(tensor), Owner.WEIGHTS)
            if tensor.grad is not None:
                gradients |= _addresses([tensor.grad], Owner.GRADIENTS)
    return weights | gradients


def _living_modules() -> list[nn.Module]:
    # The type is asked, not the object: a proxy answers isinstance for what it stands for, and may run code to do so.
    return [found for found in gc.get_objects() if issubclass(type(found), nn.Module)]


def _addresses(tensors: Iterable[Tensor], owner: Owner) -> dict[int, Owner]:
    plain = (part for tensor in tensors if tensor.device.type == "cuda" for part in _parts_of(tensor))
    return {part.untyped_storage().data_ptr(): owner for part in plain}


def _parts_of(tensor: Tensor) -> Iterator[Tensor]:
    """Yield the tensors with memory that `tensor` is made of: itself, or what a DTensor and its like hold."""
    if not hasattr(tensor, "__tensor_flatten__"):
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()
    for name in names:
        part = getattr(tensor, name)
        if isinstance(part, Tensor):  # a DTensor names its mesh too
            yield from _parts_of(part)


def _with_attributes(tensor: Tensor) -> Iterator[Tensor]:
    """Yield `tensor` and the tensors among its attributes: scales and code books of a quantised weight."""
    yield tensor
    yield from _tensors_in(tensor.__dict__, NESTING)


def _tensors_in(holder: object, depth: int) -> Iterator[Tensor]:
    if isinstance(holder, Tensor):
        yield holder
    elif depth > 0:
        values = holder.values() if isinstance(holder, dict) else getattr(holder, "__dict__", {}).values()
        for value in values:
            yield from _tensors_in(value, depth - 1)
