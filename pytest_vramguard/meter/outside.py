"""Memory of this process on the card that the caching allocator knows nothing of."""

from __future__ import annotations

import os

import pynvml
import torch


def outside_allocator_bytes(device: int) -> int | None:
    """Return what the driver counts for this process on `device` beyond what the allocator has reserved, in bytes.

    That is the CUDA context, loaded libraries, NCCL and managed memory. None where the driver does not say what this process
    uses, as inside a container with process numbers of its own.
    """
    used_bytes = _process_bytes(device)
    return None if used_bytes is None else max(used_bytes - torch.cuda.memory_reserved(device), 0)


def _process_bytes(device: int) -> int | None:
    try:
        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except pynvml.NVMLError:
        return None
    return next((process.usedGpuMemory for process in processes if process.pid == os.getpid()), None)
