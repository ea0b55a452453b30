"""What a training leaves behind in this process after it has ended, and how it is let go."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def nothing_left() -> Iterator[None]:
    """Give a block in which a model is trained, and free all that it would leave to the next case.

    What the block made must not be held outside of it. After an exception the frames of its traceback still hold theirs.
    """
    gc.freeze()  # the libraries' own objects need no search for garbage, which would take a quarter of a case's time
    try:
        yield
    finally:
        _reset_bitsandbytes()
        gc.collect()  # a Trainer and its model hold each other
        gc.unfreeze()


def _reset_bitsandbytes() -> None:
    """Empty the globals in which bitsandbytes 0.50 keeps things of a training that is over.

    It remembers the embeddings of every model that had an 8-bit optimizer, which keeps their weights alive, and remembers
    settings by the `id` of a parameter, which a parameter of the next model may have again. It keeps a table for nested
    quantisation on the card, and never frees the managed memory of paged optimizer states.
    """
    if "bitsandbytes" not in sys.modules:
        return
    from bitsandbytes import functional, optim

    optim.GlobalOptimManager.get_instance().initialize()
    functional.name2qmap.clear()
    pages = functional.GlobalPageManager.get_instance()
    _free_managed(pages.paged_tensors)
    pages.initialize()


def _free_managed(tensors: list[torch.Tensor]) -> None:
    """Give managed memory back to the driver."""
    if tensors:
        major = str(torch.version.cuda).partition(".")[0]
        runtime = ctypes.CDLL(f"libcudart.so.{major}")  # the one that torch has loaded: the linker goes by this name
        for tensor in tensors:
            runtime.cudaFree(ctypes.c_void_p(tensor.data_ptr()))
