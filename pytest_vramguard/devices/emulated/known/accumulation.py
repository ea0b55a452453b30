"""Sums of gradients, which autograd's engine makes in place where no dispatch mode is active, and in fresh memory where one is.

Source: torch, torch/csrc/autograd/input_buffer.cpp, `can_accumulate_inplace`; aten/src/ATen/TensorSubclassLikeUtils.h.
"""

from __future__ import annotations

import sys
from typing import Final

import torch
from torch import Tensor

from pytest_vramguard.devices.emulated.known.storages import is_dense

DEPTH: Final = 3
"""Frames from here to what called the dispatch mode: the engine has none."""
HELD: Final = 4
"""How often a tensor is held when only the engine's buffer keeps it: there, in the call, and by its Python object."""
HELD_STORAGE: Final = 2
"""The same for its storage: by the tensor, and by its Python object."""


def is_accumulation(total: Tensor) -> bool:
    """Return whether the engine adds to a gradient that nothing else holds; releases before 2.2 do not tell, so never there."""
    if torch._C._current_graph_task_id() == -1 or not hasattr(total, "_use_count") or not is_dense(total):
        return False
    caller = sys._getframe(DEPTH - 1).f_back
    storage = total.untyped_storage()
    return (
        caller is None
        and total._use_count() == HELD
        and torch._C._storage_Use_Count(storage._cdata) == HELD_STORAGE
        and total.is_contiguous()
    )
