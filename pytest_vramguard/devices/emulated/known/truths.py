"""Truth values that are the same in the whole of a tensor, which may be too large to keep its bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import torch
from torch.multiprocessing.reductions import StorageWeakRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

TOLD_BY_TRUTHS: Final[dict[str, Callable[[list[bool]], bool]]] = {
    "aten::all": all,
    "aten::any": any,
    "aten::bitwise_and": all,
    "aten::bitwise_not": lambda truths: not truths[0],
    "aten::bitwise_or": any,
    "aten::logical_and": all,
    "aten::logical_not": lambda truths: not truths[0],
    "aten::logical_or": any,
    "aten::mul": all,
}
"""Operators that answer with one truth value where each of their inputs holds one, and what they answer."""


@dataclass(kw_only=True, slots=True)
class Truths:
    """The storages on the card that hold one truth value everywhere. They are dropped as `KnownStorages` drops its own."""

    _alive: dict[int, tuple[StorageWeakRef, bool]] = field(default_factory=dict)

    def note(self, tensor: Tensor, *, truth: bool) -> None:
        """Note that the whole storage of `tensor` is `truth`."""
        self._alive = {key: kept for key, kept in self._alive.items() if not kept[0].expired()}
        storage = tensor.untyped_storage()
        self._alive[storage._cdata] = (StorageWeakRef(storage), truth)

    def forget(self, tensor: Tensor) -> None:
        """Note that something was written to the storage of `tensor`."""
        if self._alive:
            self._alive.pop(tensor.untyped_storage()._cdata, None)

    def answer(self, operator: str, inputs: Iterable[Tensor]) -> bool | None:
        """Return what one of the operators above answers, or None where an input does not hold one truth value everywhere."""
        truths: list[bool] = []
        for tensor in inputs:
            strided = tensor.layout is torch.strided and tensor.numel()  # all of none is true, whatever the storage holds
            kept = self._alive.get(tensor.untyped_storage()._cdata) if strided else None
            if kept is None:
                return None
            truths.append(kept[1])
        return TOLD_BY_TRUTHS[operator](truths)
