"""Memory of this process on the card that the caching allocator knows nothing of."""

from __future__ import annotations

import os
from typing import Any

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
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(nvml_handle(device))
    except pynvml.NVMLError:
        return None
    return next((process.usedGpuMemory for process in processes if process.pid == os.getpid()), None)


def nvml_handle(device: int) -> Any:
    """Return NVML's handle of a card of this process.

    Raises:
        pynvml.NVMLError: NVML is not there, or knows no such card.
    """
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    if uuid is None:  # torch 2.1 tells no UUID, but where NVML counts the card
        return pynvml.nvmlDeviceGetHandleByIndex(torch.cuda._get_nvml_device_index(device))
    return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
