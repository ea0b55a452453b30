"""The moment at which torch begins to use a card."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


def when_cuda_starts(call: Callable[[], None]) -> None:
    """Call `call` as soon as torch has initialised CUDA in this process; never in one that only launches others."""
    torch.cuda._lazy_call(call)
