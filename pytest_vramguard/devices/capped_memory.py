"""What code sees of a card's memory while a larger card stands in for a smaller one.

The allocator's cap alone is not enough: transformers and accelerate ask how much memory is free, and lay out a model by the
answer.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_vramguard.cards import Card


@contextmanager
def memory_of(target: Card) -> Iterator[None]:
    """Make `torch.cuda.mem_get_info` answer as `target` would, in bytes, while the code inside runs."""
    asked_of_driver = torch.cuda.mem_get_info

    def mem_get_info(device: torch.types.Device = None) -> tuple[int, int]:
        """Return free and total bytes of the target."""
        really_free_bytes = asked_of_driver(device)[0]
        free_bytes = target.usable_bytes - target.context_bytes - torch.cuda.memory_reserved(device)
        return max(min(free_bytes, really_free_bytes), 0), target.usable_bytes

    torch.cuda.mem_get_info = torch.cuda.memory.mem_get_info = mem_get_info
    try:
        yield
    finally:
        torch.cuda.mem_get_info = torch.cuda.memory.mem_get_info = asked_of_driver
