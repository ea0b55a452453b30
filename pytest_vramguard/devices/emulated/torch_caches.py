"""Make torch forget the former card.

torch asks for the properties of a device once and keeps them in C++; libraries above it keep answers in `functools` caches.
One process can serve several cards only if these are brought up to date, which is done here on purpose and then checked.
"""

from __future__ import annotations

import ctypes
import functools
import gc
from typing import Final

import torch

from pytest_vramguard.devices.emulated import libraries
from pytest_vramguard.errors import DeviceUnavailable

CACHING_PACKAGES: Final = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "trl", "triton")
"""Packages whose `functools` caches can hold an answer about the card."""
# A pybind11 instance is a Python object header (reference count and type) followed by the pointer to the C++ value.
# Source: pybind11, include/pybind11/detail/common.h, struct instance.
VALUE_POINTER_OFFSET: Final = 16


def refresh(name: str, total_bytes: int) -> None:
    """Write the present card's properties over those that torch keeps, and empty the caches above torch.

    Does nothing before torch has asked for properties. `name` and `total_bytes` are what the card must then report.

    Raises:
        DeviceUnavailable: torch still reports another card.
    """
    if not torch.cuda.is_initialized():
        return
    kept = torch.cuda.get_device_properties(0)
    if (kept.name, kept.total_memory) != (name, total_bytes):
        _overwrite(kept)
        _empty_caches()
    kept = torch.cuda.get_device_properties(0)
    if (kept.name, kept.total_memory) != (name, total_bytes):
        message = f"torch {torch.__version__}: still reports {kept.name!r}, expected {name!r}; run one target per process"
        raise DeviceUnavailable(message)


def _overwrite(kept: object) -> None:
    """Ask the emulated runtime for the properties once more, into the place where torch keeps them."""
    place = ctypes.c_void_p.from_address(id(kept) + VALUE_POINTER_OFFSET).value
    kept_name = ctypes.string_at(place).decode(errors="replace") if place else None
    if place is None or kept_name != getattr(kept, "name", None):
        message = f"torch {torch.__version__}: keeps device properties in an unknown form; run one target per process"
        raise DeviceUnavailable(message)
    libraries.write_properties(place, int(str(torch.version.cuda).partition(".")[0]))


def _empty_caches() -> None:
    for found in gc.get_objects():
        # The type is asked, not the object: some proxies run code when isinstance asks them for their class.
        if type(found) is functools._lru_cache_wrapper:
            package = (getattr(found, "__module__", None) or "").partition(".")[0]
            if package in CACHING_PACKAGES:
                found.cache_clear()
