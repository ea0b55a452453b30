"""AdamW with the temporary tensors that torch 2.0 made: two of the size of a group's states, where torch 2.1 makes one.

The second is the square root with epsilon added to it, which torch 2.1 adds in place. Both live until the next group has its
own. Source: pytorch v2.0.1, torch/optim/adamw.py, `_multi_tensor_adamw`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor


class OldAdamW(torch.optim.Optimizer):
    """Steps all parameters of a type at once."""

    def __init__(self, parameters: Any, *, lr: float, betas: tuple[float, float]) -> None:
        """Note what is common to all groups."""
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": 1e-8, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # noqa: ARG002 # the argument that accelerate passes on
        """Make the states where there are none, and step."""
        for group in self.param_groups:
            by_type: dict[torch.dtype, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_type[parameter.dtype].append(parameter)
            roots = denominators = None
            for parameters in by_type.values():
                averages, squares = self._states(parameters)
                gradients = [parameter.grad for parameter in parameters]
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                first, second = group["betas"]
                torch._foreach_mul_(averages, first)
                torch._foreach_add_(averages, gradients, alpha=1 - first)
                torch._foreach_mul_(squares, second)
                torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
                roots = torch._foreach_sqrt(squares)
                denominators = torch._foreach_add(roots, group["eps"])
                torch._foreach_addcdiv_(parameters, averages, denominators, -group["lr"])

    def _states(self, parameters: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return both averages of each parameter."""
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
                state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        averages = [self.state[parameter]["exp_avg"] for parameter in parameters]
        return averages, [self.state[parameter]["exp_avg_sq"] for parameter in parameters]
