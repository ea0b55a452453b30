"""Which exceptions mean that the card was full, and what an exception keeps alive."""

from __future__ import annotations

import re
import sys
import traceback

import torch


def out_of_memory_in(error: BaseException | None) -> BaseException | None:
    """Return the out-of-memory that `error` is, or was raised from; None if there is none.

    cuBLAS and other libraries that allocate for themselves report a full card in words of their own.
    """
    while error is not None:
        if isinstance(error, torch.cuda.OutOfMemoryError) or (isinstance(error, RuntimeError) and _says_so(str(error))):
            return error
        error = error.__cause__
    return None


def _says_so(text: str) -> bool:
    words = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "Cuda failure 2 'out of memory'")
    return any(word in text for word in words)


def full_device_in(error: BaseException) -> int | None:
    """Return the device that PyTorch's text says was full; None if the text is somebody else's."""
    found = re.search(r"GPU (\d+) has a total capacity", str(error))
    return int(found[1]) if found else None


def release_last_error() -> None:
    """Let go of the tensors that live on in the frames of the last exception that a test ended with.

    Python keeps that exception for debuggers, and with it every local variable on its way, such as a model that did not fit.
    """
    error = getattr(sys, "last_value", None)
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
