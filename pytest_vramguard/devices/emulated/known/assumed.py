"""What is assumed about numbers that nobody computed: they are finite, and a router spreads tokens evenly over its experts."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor

MOST_EXPERTS: Final = 1024
"""Most alternatives among which a `topk` is taken for a router's choice; more are a vocabulary.

Published models have up to 512 experts a layer. Source: Qwen3-Next-80B-A3B, `num_experts` in its `config.json`.
"""


def answer_if_finite(operator: str, arguments: tuple[Any, ...]) -> bool | None:
    """Return what a comparison answers for every finite number, or None if that depends on the number.

    `torch.isfinite(x)` reaches the card as `(x == x) * (abs(x) != inf)`.
    """
    if operator in ("aten::isnan", "aten::isinf"):
        return False
    left, right = arguments[:2]
    if left is right:
        return operator == "aten::eq"
    if isinstance(right, float) and math.isinf(right):
        return operator == "aten::ne"
    return None


def is_choice_of_experts(scores: Tensor, choice: Tensor) -> bool:
    """Return whether a `topk` of unknown `scores` looks like a router's: few alternatives, and `choice` on the last axis."""
    return scores.dim() > 1 and scores.shape[:-1] == choice.shape[:-1] and scores.shape[-1] <= MOST_EXPERTS


def balanced_choice(scores: Tensor, choice: Tensor) -> Tensor:
    """Return indices on the CPU, of the shape of `choice`, that go round all alternatives.

    No token chooses one twice, and no two differ by more than one in how often they are chosen.
    """
    return (torch.arange(choice.numel(), dtype=choice.dtype) % scores.shape[-1]).view(choice.shape)
