"""Operators that the CPU does not have for every type that the card has them for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor
    from torch._ops import OpOverload


def computed_on_cpu(operator: OpOverload, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Return what `operator` computes on the CPU from host arguments as the card would.

    Raises:
        RuntimeError: the CPU cannot say.
    """
    if operator is torch.ops.aten.histc.default and not arguments[0].is_floating_point():
        return _histogram_of_whole_numbers(operator, *arguments, **keywords)
    return operator(*arguments, **keywords)


def _histogram_of_whole_numbers(operator: OpOverload, numbers: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
    """Count with 64-bit reals, which hold every whole number that can be counted among."""
    counted: Tensor = operator(numbers.double(), *arguments, **keywords)
    return counted.to(numbers.dtype)
