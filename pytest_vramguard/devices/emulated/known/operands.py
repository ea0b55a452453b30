"""The tensors among the arguments of an operator, and their stand-ins on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from pytest_vramguard.devices.emulated.known.storages import on_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_vramguard.devices.emulated.known.plans import Plan

Arguments: TypeAlias = tuple[Any, ...]
Keywords: TypeAlias = dict[str, Any]

CPU = torch.device("cpu")


def tensors_in(*holders: Any) -> Iterator[Tensor]:
    """Yield the tensors in positional and keyword arguments, one list deep, as operators take and return them."""
    for holder in holders:
        for value in holder.values() if isinstance(holder, dict) else holder:
            if isinstance(value, Tensor):
                yield value
            elif isinstance(value, (list, tuple)):
                yield from (item for item in value if isinstance(item, Tensor))


def written_by(plan: Plan, args: Arguments, kwargs: Keywords) -> Iterator[Tensor]:
    """Yield the tensors that an operator writes to."""
    for position, name in plan.written:
        yield from tensors_in((args[position] if position < len(args) else kwargs.get(name),))


def read_by(plan: Plan, args: Arguments, kwargs: Keywords) -> Iterator[Tensor]:
    """Yield the tensors that an operator is given elsewhere than where it writes to; one may be given in both places."""
    positions, names = {position for position, _ in plan.written}, {name for _, name in plan.written}
    yield from tensors_in(
        [value for position, value in enumerate(args) if position not in positions],
        [value for name, value in kwargs.items() if name not in names],
    )


def all_on_host(argument: Any) -> Any:
    """Return an argument, or a collection of arguments, with each tensor and device of the card replaced by one of the host."""
    if isinstance(argument, Tensor):
        return on_host(argument) if argument.is_cuda else argument
    if isinstance(argument, torch.device):
        return CPU
    if isinstance(argument, dict):
        return {name: all_on_host(value) for name, value in argument.items()}
    return type(argument)(map(all_on_host, argument)) if isinstance(argument, (list, tuple)) else argument


def zeros_on_host(tensor: Tensor) -> Tensor:
    """Return zeros of the same shape and type on the host."""
    return torch.zeros(tensor.shape, dtype=tensor.dtype)


def covers_storage(tensor: Tensor) -> bool:
    """Return whether a write to all of `tensor` leaves nothing of what its storage held."""
    return tensor.is_contiguous() and tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()


def is_mask(index: object) -> bool:
    """Return whether an index is a mask on the card, whose true values shape the result."""
    return isinstance(index, Tensor) and index.is_cuda and index.dtype in {torch.bool, torch.uint8}
