"""The emulated libraries as the tests call them: plain numbers in, the library's code and plain numbers out.

Device addresses are integers here, and nothing reads or writes what they point at except the libraries.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

SUCCESS: Final = 0
INVALID_VALUE: Final = 1
OUT_OF_MEMORY: Final = 2
INVALID_CONFIGURATION: Final = 9
INVALID_PITCH: Final = 12
NO_DEVICE: Final = 100
INVALID_DEVICE: Final = 101
INVALID_HANDLE: Final = 400
NOT_READY: Final = 600
ALREADY_REGISTERED: Final = 712
NOT_REGISTERED: Final = 713
NOT_SUPPORTED: Final = 801

COUNTERS: Final = (
    "launches",
    "compute_calls",
    "driver_allocations",
    "driver_frees",
    "synchronisations",
    "bytes_to_device",
    "bytes_to_host",
)

TOTAL_BYTES: Final = (48 << 20) + 12_345
CONTEXT_BYTES: Final = (5 << 20) + 77
"""Multiples of nothing, so that a rounding shows."""
CARD: Final[dict[str, object]] = {
    "name": "Emulated Test Card",
    "total_bytes": TOTAL_BYTES,
    "context_bytes": CONTEXT_BYTES,
    "count": 2,
    "major": 8,
    "minor": 6,
    "sm_count": 28,
    "l2_bytes": 2_359_296,
    "shared_memory_per_sm_bytes": 102_400,
    "shared_memory_per_block_optin_bytes": 101_376,
    "max_threads_per_sm": 1_536,
    "max_blocks_per_sm": 16,
    "memory_bus_bits": 192,
    "boost_clock_khz": 1_777_000,
    "memory_clock_khz": 7_501_000,
    "ecc": 0,
    "peer_access": 0,
    "nccl_channels": 0,
    "driver_version": 13_000,
    "driver_name": "580.65.06",
}
"""Two small cards."""


def card_text(**fields: object) -> str:
    """Return `CARD` with `fields` replaced, in the form that `vg_place` reads."""
    return "".join(f"{key}={value};" for key, value in {**CARD, **fields}.items())


class Usage(ctypes.Structure):
    """`vg_usage` of core.h."""

    _fields_ = (
        ("total_bytes", c_ulonglong),
        ("used_bytes", c_ulonglong),
        ("managed_bytes", c_ulonglong),
        ("peak_bytes", c_ulonglong),
    )


class Attributes(ctypes.Structure):
    """`cudaPointerAttributes` of driver_types.h, CUDA 13."""

    _fields_ = (
        ("type", c_int),
        ("device", c_int),
        ("device_address", c_void_p),
        ("host_address", c_void_p),
        ("reserved", ctypes.c_long * 8),
    )


class Dimensions(ctypes.Structure):
    """`dim3` of vector_types.h."""

    _fields_ = (("x", c_uint), ("y", c_uint), ("z", c_uint))


class MonitoredMemory(ctypes.Structure):
    """`nvmlMemory_t` of nvml.h."""

    _fields_ = (("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong))


@dataclass(frozen=True, kw_only=True, slots=True)
class Libraries:
    """The emulated libraries of one folder."""

    folder: Path
    core: ctypes.CDLL
    runtime: ctypes.CDLL
    """Of CUDA 13."""
    runtime_12: ctypes.CDLL
    driver: ctypes.CDLL
    monitor: ctypes.CDLL
    """NVML."""
    handed_out: list[int] = field(default_factory=list)
    """Addresses of every allocation since `free_everything`."""

    def place(self, text: str) -> str | None:
        """Place a card; returns the complaint, if any."""
        complaint: bytes | None = self.core.vg_place(text.encode())
        return complaint.decode() if complaint is not None else None

    def usage(self, device: int) -> Usage:
        """Return the bytes of one card, as the core counts them."""
        found: Usage = self.core.vg_usage_of(device)
        return found

    def counted(self) -> dict[str, int]:
        """Return every counter since the libraries were loaded."""
        return {name: self.core.vg_counted(index) for index, name in enumerate(COUNTERS)}

    def refused(self) -> list[str]:
        """Return the refused names since they were last forgotten, and forget them."""
        room = ctypes.create_string_buffer(1 << 16)
        self.core.vg_refusals(room, c_size_t(len(room)))
        self.core.vg_forget_refusals()
        return room.value.decode().splitlines()

    def memory_info(self) -> tuple[int, int, int]:
        """Return code, free and total bytes of the present device, by `cudaMemGetInfo`."""
        free, total = c_size_t(), c_size_t()
        code: int = self.runtime.cudaMemGetInfo(byref(free), byref(total))
        return code, free.value, total.value

    def monitored(self, device: int) -> tuple[int, int, int]:
        """Return total, free and used bytes of a device, by NVML."""
        handle, memory = c_void_p(), MonitoredMemory()
        codes = (
            self.monitor.nvmlDeviceGetHandleByIndex_v2(c_uint(device), byref(handle)),
            self.monitor.nvmlDeviceGetMemoryInfo(handle, byref(memory)),
        )
        assert (SUCCESS, SUCCESS) == codes
        return memory.total, memory.free, memory.used

    def allocate(self, function: str, size_bytes: int) -> tuple[int, int]:
        """Return code and address of `cudaMalloc`, `cudaMallocManaged` or `cudaHostAlloc`; address 0 if there is none."""
        address = c_void_p()
        code: int = getattr(self.runtime, function)(byref(address), c_size_t(size_bytes), c_uint(1))
        self.handed_out.append(address.value or 0)
        return code, address.value or 0

    def allocate_by_driver(self, size_bytes: int) -> tuple[int, int]:
        """Return code and address of `cuMemAlloc`."""
        address = c_void_p()
        code: int = self.driver.cuMemAlloc_v2(byref(address), c_size_t(size_bytes))
        self.handed_out.append(address.value or 0)
        return code, address.value or 0

    def free_everything(self) -> None:
        """Free what was handed out and not freed yet."""
        while self.handed_out:
            address = self.handed_out.pop()
            for function in ("cudaFree", "cudaFreeHost"):
                self.call(function, address)

    def call(self, function: str, *arguments: int) -> int:
        """Return the code of a runtime function whose arguments are all addresses, handles or sizes."""
        code: int = getattr(self.runtime, function)(*map(c_size_t, arguments))
        return code

    def call_driver(self, function: str, *arguments: int) -> int:
        """Return the code of a driver function whose arguments are all addresses, handles or sizes."""
        code: int = getattr(self.driver, function)(*map(c_size_t, arguments))
        return code

    def create(self, function: str, *arguments: int) -> int:
        """Return the handle that `cudaStreamCreateWithPriority` or `cudaEventCreateWithFlags` makes."""
        handle = c_void_p()
        code = getattr(self.runtime, function)(byref(handle), *map(c_int, arguments))
        assert SUCCESS == code
        assert handle.value
        return handle.value

    def create_memory(self, device: int, size_bytes: int) -> tuple[int, int]:
        """Return code and handle of `cuMemCreate`."""
        handle = c_ulonglong()
        properties = (c_int * 8)(1, 0, 1, device)  # CUmemAllocationProp: pinned, no shareable handle, of that device
        code: int = self.driver.cuMemCreate(byref(handle), c_size_t(size_bytes), byref(properties), c_ulonglong(0))
        return code, handle.value

    def reserve(self, size_bytes: int, alignment: int = 0) -> tuple[int, int]:
        """Return code and address of `cuMemAddressReserve`."""
        address = c_ulonglong()
        arguments = c_size_t(size_bytes), c_size_t(alignment), c_ulonglong(0), c_ulonglong(0)
        code: int = self.driver.cuMemAddressReserve(byref(address), *arguments)
        return code, address.value

    def set_access(self, address: int, size_bytes: int, flags: int, device: int = 0) -> int:
        """Return the code of `cuMemSetAccess` for one device."""
        wish = (c_int * 3)(1, device, flags)  # CUmemAccessDesc
        code: int = self.driver.cuMemSetAccess(c_ulonglong(address), c_size_t(size_bytes), byref(wish), c_size_t(1))
        return code

    def pool_of(self, device: int) -> int:
        """Return the default memory pool of a device."""
        pool = c_void_p()
        assert SUCCESS == self.runtime.cudaDeviceGetDefaultMemPool(byref(pool), c_int(device))
        return pool.value or 0

    def create_pool(self, device: int) -> int:
        """Return a new memory pool."""
        pool, properties = c_void_p(), (c_int * 32)(1, 0, 1, device)  # cudaMemPoolProps, which begins as CUmemAllocationProp
        assert SUCCESS == self.runtime.cudaMemPoolCreate(byref(pool), byref(properties))
        return pool.value or 0

    def pool_attribute(self, pool: int, attribute: int) -> int:
        """Return a size that a memory pool tells about itself."""
        value = c_ulonglong()
        assert SUCCESS == self.runtime.cudaMemPoolGetAttribute(c_void_p(pool), c_int(attribute), byref(value))
        return value.value

    def set_pool_attribute(self, pool: int, attribute: int, size_bytes: int) -> int:
        """Return the code of `cudaMemPoolSetAttribute` for a size."""
        code: int = self.runtime.cudaMemPoolSetAttribute(c_void_p(pool), c_int(attribute), byref(c_ulonglong(size_bytes)))
        return code

    def allocate_from(self, pool: int, size_bytes: int) -> tuple[int, int]:
        """Return code and address of `cudaMallocFromPoolAsync` on the default stream."""
        address = c_void_p()
        arguments = c_size_t(size_bytes), c_void_p(pool), c_void_p()
        code: int = self.runtime.cudaMallocFromPoolAsync(byref(address), *arguments)
        self.handed_out.append(address.value or 0)
        return code, address.value or 0

    def launch(self, grid: tuple[int, int, int] = (1, 1, 1), block: tuple[int, int, int] = (32, 1, 1)) -> int:
        """Return the code of `cudaLaunchKernel` for a kernel that nobody runs."""
        shape = Dimensions(*grid), Dimensions(*block)
        code: int = self.runtime.cudaLaunchKernel(c_void_p(), *shape, c_void_p(), c_size_t(), c_void_p())
        return code

    def elapsed_milliseconds(self, start: int, end: int) -> tuple[int, float]:
        """Return code and time between two events."""
        elapsed = c_float()
        code: int = self.runtime.cudaEventElapsedTime(byref(elapsed), c_void_p(start), c_void_p(end))
        return code, elapsed.value

    def attributes(self, address: int) -> tuple[int, int, int | None, int | None]:
        """Return type, device, device address and host address of a pointer."""
        found = Attributes()
        assert SUCCESS == self.runtime.cudaPointerGetAttributes(byref(found), c_void_p(address))
        return found.type, found.device, found.device_address, found.host_address


def load(folder: Path) -> Libraries:
    """Load the emulated libraries of `folder` into this process."""
    core = ctypes.CDLL(str(folder / "libvramguard_core.so"))
    core.vg_place.restype = ctypes.c_char_p
    core.vg_counted.restype = c_ulonglong
    core.vg_usage_of.restype = Usage
    return Libraries(
        folder=folder,
        core=core,
        driver=ctypes.CDLL(str(folder / "libcuda.so.1")),
        runtime=ctypes.CDLL(str(folder / "libcudart.so.13")),
        runtime_12=ctypes.CDLL(str(folder / "libcudart.so.12")),
        monitor=ctypes.CDLL(str(folder / "libnvidia-ml.so.1")),
    )


def opened(folder: Path, soname: str) -> Any:
    """Return one library, for tests that look functions up by name."""
    return ctypes.CDLL(str(folder / soname))
