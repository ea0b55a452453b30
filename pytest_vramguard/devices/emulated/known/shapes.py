"""Operators whose results have a shape that values decide: they are done on the host, and their results put on the card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from pytest_vramguard.devices.emulated.known.operands import (
    Arguments,
    Keywords,
    all_on_host,
    is_mask,
    tensors_in,
    zeros_on_host,
)
from pytest_vramguard.devices.emulated.known.storages import KnownStorages, is_small, on_host, write_values
from pytest_vramguard.devices.emulated.libraries import note_read

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch._ops import OpOverload

    from pytest_vramguard.devices.emulated.known.plans import Plan
    from pytest_vramguard.devices.emulated.known.reads import ReadLog

COUNT_BYTES: Final = 8
"""Of the count that shapes a result and is copied to the host. Source: torch, aten/src/ATen/native/cuda/Nonzero.cu."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShapedByValues:
    """Runs such operators. On a card the host waits for the number that shapes the result."""

    known: KnownStorages
    log: ReadLog
    dispatch: Callable[..., Any]
    """Runs an operator with what it is given in place of masks: the operator, no types, arguments, keywords."""

    def shaped(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run `nonzero` and its like."""
        tensors = list(tensors_in(args, kwargs))
        if not any(tensor.is_cuda for tensor in tensors):
            return func(*args, **kwargs)
        if plan.name == "aten::masked_select" and self.known.holds_all(tensors[1:]):
            selected_from, mask = torch.broadcast_tensors(*tensors)
            return self.at_positions(torch.ops.aten.index.Tensor, (selected_from, [mask]), {})
        if not self.known.holds_all(tensors):
            self.log.note_shape(plan.name)
            args, kwargs = tree_map_only(Tensor, zeros_on_host, (args, kwargs))
        note_read(COUNT_BYTES)
        computed = func(*all_on_host(args), **all_on_host(kwargs))
        return tree_map_only(Tensor, self._placed, computed)

    def at_positions(self, func: OpOverload, args: Arguments, kwargs: Keywords) -> Any:
        """Run an indexing operator with the true positions of each mask in its place."""
        indices: list[Tensor | None] = []
        for index in args[1]:
            indices.extend(self._positions(index) if is_mask(index) else [index])
        return self.dispatch(func, (), (args[0], indices, *args[2:]), kwargs)

    def masked_scatter_backward(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Tensor:
        """As torch has it, but with a counted mask. Source: torch, aten/src/ATen/native/TensorAdvancedIndexing.cpp."""
        grad, mask, sizes = args
        selected: Tensor = self.dispatch(torch.ops.aten.masked_select.default, (), (grad, mask))
        missing = torch.Size(sizes).numel() - selected.numel()
        if missing > 0:
            selected = torch.cat([selected, torch.zeros(missing, dtype=grad.dtype, device=grad.device)])
        return selected.view(sizes)

    def _positions(self, mask: Tensor) -> list[Tensor]:
        """Return where a mask is true, an index for each of its dimensions; nowhere, and reported, if that is not known."""
        note_read(COUNT_BYTES)
        if self.known.holds_all([mask]):
            values = on_host(mask) if mask.is_cuda else mask
        else:
            self.log.note_shape("indexing with a mask")
            values = torch.zeros(mask.shape, dtype=torch.bool)
        return [self._placed(position) for position in values.nonzero().unbind(1)]

    def _placed(self, values: Tensor) -> Tensor:
        """Return a known tensor on the card with the values of a CPU tensor."""
        placed = torch.empty_like(values, device="cuda")
        if is_small(placed):
            write_values(placed, values)
            self.known.add(placed)
        return placed
