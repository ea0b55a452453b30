"""The emulated CUDA libraries in this process: loading them, placing a card, reading the books."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_vramguard.errors import DeviceUnavailable
from pytest_vramguard.reading import OutsideMemory

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_vramguard.cards import Card

FOLDER: Final = Path(__file__).parent / "lib"
CORE: Final = "libvramguard_core.so"
CARD_VARIABLE: Final = "VRAMGUARD_CARD"
"""Environment variable that carries the card to child processes; see `card.c`."""
# The order matters: a library finds those it needs among the ones before it.
_DRIVER: Final = ("libcuda.so.1", "libnvidia-ml.so.1")
_OF_BOTH: Final = (
    "libnccl.so.2",
    "libcusparse.so.12",
    "libcusparseLt.so.0",
    "libcudnn.so.9",
    "libcurand.so.10",
    "libcufile.so.0",
    "libnvshmem_host.so.3",
)
"""Those that have one name for both majors."""
SONAMES_BY_MAJOR: Final = {
    12: (
        *_DRIVER,
        "libcudart.so.12",
        "libcublasLt.so.12",
        "libcublas.so.12",
        *_OF_BOTH,
        "libcusolver.so.11",
        "libcufft.so.11",
        "libcudnn.so.8",
        "libcupti.so.12",
        "libnvJitLink.so.12",
    ),
    13: (
        *_DRIVER,
        "libcudart.so.13",
        "libcublasLt.so.13",
        "libcublas.so.13",
        *_OF_BOTH,
        "libcusolver.so.12",
        "libcufft.so.12",
        "libcupti.so.13",
        "libnvJitLink.so.13",
    ),
}
"""Libraries that a torch for this major of CUDA finds in place of NVIDIA's."""
SONAMES: Final = tuple(dict.fromkeys(name for names in SONAMES_BY_MAJOR.values() for name in names))
"""Every library. Those of two majors can be in one process: their symbols carry different versions."""
DRIVER_VERSION: Final = 13000
"""What `cuDriverGetVersion` answers: CUDA 13.0, whose driver serves builds for CUDA 12 too.

Source: CUDA compatibility documentation, "Backward Compatibility"."""
DRIVER_NAME: Final = "580.65.06"
"""What NVML answers. Source: CUDA 13.0 release notes, first driver of that release."""
REAL_COPY_BYTES: Final = 1 << 20
"""Largest copy that is done for real; `VG_REAL_BYTES` in `core.h`."""
UUID_PREFIX: Final = "7672616d-6772"
"""How the UUID of every emulated card begins; see `vg_uuid` in `card.c`."""

COUNTERS: Final = (
    "launches",
    "compute_calls",
    "driver_allocations",
    "driver_frees",
    "synchronisations",
    "bytes_to_device",
    "bytes_to_host",
    "bytes_all_reduced",
    "bytes_all_gathered",
    "bytes_reduce_scattered",
    "bytes_broadcast",
    "bytes_exchanged",
)
"""Names of the counters, in the order of `vg_counter` in `core.h`."""


class Usage(ctypes.Structure):
    """`vg_usage`: bytes of one card."""

    _fields_ = (
        ("total_bytes", ctypes.c_uint64),
        ("used_bytes", ctypes.c_uint64),
        ("managed_bytes", ctypes.c_uint64),
        ("peak_bytes", ctypes.c_uint64),
    )


class Outside(ctypes.Structure):
    """`vg_outside`: the largest amounts of memory besides the card's own, in bytes."""

    _fields_ = (
        ("managed_bytes", ctypes.c_uint64),
        ("managed_host_bytes", ctypes.c_uint64),
        ("pinned_bytes", ctypes.c_uint64),
    )


def card_text(card: Card, count: int = 1) -> str:
    """Return `count` cards of a kind in the form that `vg_place` reads."""
    major, minor = card.compute_capability
    values: dict[str, object] = {
        "name": card.name,
        "total_bytes": card.usable_bytes,
        "context_bytes": card.context_bytes,
        "count": count,
        "major": major,
        "minor": minor,
        "sm_count": card.sm_count,
        "l2_bytes": card.l2_bytes,
        "shared_memory_per_sm_bytes": card.shared_memory_per_sm_bytes,
        "shared_memory_per_block_optin_bytes": card.shared_memory_per_block_optin_bytes,
        "max_threads_per_sm": card.max_threads_per_sm,
        "max_blocks_per_sm": card.max_blocks_per_sm,
        "memory_bus_bits": card.memory_bus_bits,
        "boost_clock_khz": card.boost_clock_hz // 1000,
        "memory_clock_khz": card.memory_clock_hz // 1000,
        "ecc": int(card.ecc),
        "peer_access": int(card.peer_access),
        "nccl_channels": card.nccl_channels,
        "driver_version": DRIVER_VERSION,
        "driver_name": DRIVER_NAME,
    }
    return "".join(f"{key}={value};" for key, value in values.items())


def built() -> bool:
    """Return whether the libraries were built when the package was installed."""
    return all((FOLDER / name).exists() for name in (CORE, *SONAMES))


def loaded() -> bool:
    """Return whether the process already has the libraries: loaded here, or through `LD_PRELOAD`."""
    try:
        ctypes.CDLL(str(FOLDER / CORE), mode=os.RTLD_NOLOAD)
    except OSError:
        return False
    return True


@cache
def core() -> ctypes.CDLL:
    """Return the core with its signatures declared."""
    library = ctypes.CDLL(str(FOLDER / CORE), mode=ctypes.RTLD_GLOBAL)
    library.vg_place.restype = ctypes.c_char_p
    library.vg_counted.restype = ctypes.c_uint64
    library.vg_usage_of.restype = Usage
    library.vg_outside_peaks.restype = Outside
    library.vg_held_peak.restype = ctypes.c_uint64
    library.vg_copy_uncounted.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    library.vg_note_read.argtypes = (ctypes.c_size_t,)
    library.vg_listen.argtypes = (ctypes.c_void_p,)
    return library


def load(cuda_major: int) -> None:
    """Load the libraries that a torch for this major of CUDA needs, so that it finds them under their names."""
    core()
    for soname in SONAMES_BY_MAJOR[cuda_major]:
        ctypes.CDLL(str(FOLDER / soname), mode=ctypes.RTLD_GLOBAL)
    # Triton looks for libcuda through this variable instead of the loader.
    os.environ.setdefault("TRITON_LIBCUDA_PATH", str(FOLDER))


def write_properties(address: int, cuda_major: int) -> None:
    """Write the properties of the card in place, in the form of this major of CUDA, to `address`.

    CUDA 12 gave the name without a suffix to the form of CUDA 11. Source: cuda_runtime_api.h of CUDA 12.9.
    """
    runtime = ctypes.CDLL(f"libcudart.so.{cuda_major}")
    write = runtime.cudaGetDeviceProperties_v2 if cuda_major == 12 else runtime.cudaGetDeviceProperties
    write(ctypes.c_void_p(address), 0)


def place(card: Card) -> None:
    """Put `card` in place of the former one.

    Raises:
        DeviceUnavailable: device memory is still allocated, so a change would falsify the books.
    """
    text = card_text(card)
    fault: bytes | None = core().vg_place(text.encode())
    if fault is not None:
        message = f"emulated {card.key}: {fault.decode()}; run one target per process: pytest --vram-target {card.key}"
        raise DeviceUnavailable(message)
    os.environ[CARD_VARIABLE] = text


def refused() -> tuple[str, ...]:
    """Return the functions that were called and are not emulated, in order of first call."""
    room = ctypes.create_string_buffer(1 << 16)
    core().vg_refusals(room, len(room))
    return tuple(room.value.decode().splitlines())


def forget_refused() -> None:
    """Start a new list of refused functions."""
    core().vg_forget_refusals()


def counted() -> dict[str, int]:
    """Return every counter since the process started; sizes in bytes."""
    return {name: core().vg_counted(index) for index, name in enumerate(COUNTERS)}


def note_read(size_bytes: int) -> None:
    """Count a read of the card by the host, which waits for it, that is answered without asking the card."""
    core().vg_note_read(size_bytes)


_listeners: list[Callable[[], None]] = []


def _synchronised() -> None:
    for listener in _listeners:
        listener()


_called: Final = ctypes.CFUNCTYPE(None)(_synchronised)
"""What the core calls; it holds the address, so this lives as long as the process."""


def listen(listener: Callable[[], None] | None) -> None:
    """Have `listener` called after each synchronisation of host and card, by the thread that waited; None ends that."""
    _listeners[:] = [] if listener is None else [listener]
    core().vg_listen(ctypes.cast(_called, ctypes.c_void_p) if _listeners else None)


def usage(device: int = 0) -> Usage:
    """Return the bytes of one card, context included."""
    found: Usage = core().vg_usage_of(device)
    return found


def outside(device: int = 0) -> OutsideMemory:
    """Return the peaks of managed and page-locked memory since `reset_peaks`."""
    found: Outside = core().vg_outside_peaks(device)
    return OutsideMemory(
        managed_bytes=found.managed_bytes, managed_host_bytes=found.managed_host_bytes, pinned_bytes=found.pinned_bytes
    )


def reset_peaks() -> None:
    """Start new peaks from what is held now."""
    core().vg_reset_peak()


def held_peak_bytes(device: int) -> int:
    """Return the most that libraries held on a device at a time, in bytes: NCCL's buffers."""
    held: int = core().vg_held_peak(device)
    return held
