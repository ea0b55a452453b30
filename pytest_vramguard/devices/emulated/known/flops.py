"""Floating-point operations of the operators that a step spends its time in: matrix products, attention, convolutions.

A multiplication with an addition is two. Formulas as those of `torch.utils.flop_counter`, with which a test compares them; that
module is not used since it imports Triton, and refuses attention with fewer heads for the keys. Everything else (norms,
activations, optimizers, kernels that are not PyTorch's own) is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

Formula: TypeAlias = Callable[[Sequence[Any], Any], int]
"""From the arguments of an operator and its result."""


def _product(args: Sequence[Any], result: Any, *, left: int = 0) -> int:
    """Of a matrix product whose left factor is the argument `left`."""
    return 2 * int(result.numel()) * int(args[left].shape[-1])


def _attention(args: Sequence[Any], _result: Any) -> int:
    """Queries times keys, and weights times values; a causal mask spares nothing here."""
    query, key, value = args[:3]
    return 2 * _scores(query, key) * int(query.shape[-1] + value.shape[-1])


def _attention_backward(args: Sequence[Any], _result: Any) -> int:
    """The scores again, and the gradients of scores, values, queries and keys."""
    _, query, key, value = args[:4]
    return 2 * _scores(query, key) * int(3 * query.shape[-1] + 2 * value.shape[-1])


def _scores(query: Any, key: Any) -> int:
    """Return how many pairs of a query and a key there are, of shape (..., tokens, width)."""
    return int(query.shape[:-1].numel()) * int(key.shape[-2])


def _convolution(args: Sequence[Any], result: Any) -> int:
    return _convolved(outer=args[0] if args[6] else result, weight=args[1])


def _convolution_backward(args: Sequence[Any], _result: Any) -> int:
    """As much as the convolution for each of the two gradients, where it is wanted; that of the bias is a sum."""
    output, inputs, weight = args[:3]
    wanted = sum(map(bool, args[10][:2]))
    return wanted * _convolved(outer=inputs if args[7] else output, weight=weight)


def _convolved(outer: Any, weight: Any) -> int:
    """`outer` is what each window belongs to one element of: the output, or the input of a transposed convolution."""
    return 2 * int(outer.numel()) * int(weight[0].numel())


FORMULAS: Final[dict[str, Formula]] = {
    **dict.fromkeys(("aten::mm", "aten::bmm", "aten::_scaled_mm", "aten::_int_mm"), _product),
    **dict.fromkeys(("aten::addmm", "aten::baddbmm", "aten::_addmm_activation"), partial(_product, left=1)),
    **{f"aten::_scaled_dot_product_{kind}_attention": _attention for kind in ("flash", "efficient", "cudnn")},
    **{f"aten::_scaled_dot_product_{kind}_attention_backward": _attention_backward for kind in ("flash", "efficient", "cudnn")},
    "aten::convolution": _convolution,
    "aten::convolution_backward": _convolution_backward,
}
"""By the name of the operator, whatever its overload."""
