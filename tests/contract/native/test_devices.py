"""What the libraries say a card is: handles, identity and attributes, asked with good and bad devices."""

from __future__ import annotations

import ctypes

import pytest

from tests.contract.native.libraries import CARD, CONTEXT_BYTES, INVALID_DEVICE, SUCCESS, Libraries, MonitoredMemory

MONITOR_INVALID_ARGUMENT = 2
MONITOR_NOT_FOUND = 6
"""NVML's codes."""


class TestMonitorHandles:
    """NVML knows a card by a handle, an index, a UUID or a bus address."""

    @pytest.mark.parametrize(("index", "code"), [(0, 0), (1, 0), (2, 2), (2**31, 2), (2**32 - 1, 2)])
    def test_only_indices_of_cards_have_handles(self, cards: Libraries, index: int, code: int) -> None:
        """An index past the last card, however large, is an invalid argument."""
        handle = ctypes.c_void_p()

        assert code == cards.monitor.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle))

    @pytest.mark.parametrize("handle", [0, 3, 2**31, 2**32 + 1, 2**63, 2**64 - 1])
    def test_what_is_no_handle_is_refused(self, cards: Libraries, handle: int) -> None:
        """Null, and numbers that only look like a handle when they are cut short, are invalid arguments of every question."""
        memory, name = MonitoredMemory(), ctypes.create_string_buffer(96)
        own = ctypes.c_void_p(handle)

        assert MONITOR_INVALID_ARGUMENT == cards.monitor.nvmlDeviceGetMemoryInfo(own, ctypes.byref(memory))
        assert MONITOR_INVALID_ARGUMENT == cards.monitor.nvmlDeviceGetName(own, name, 96)
        assert MONITOR_INVALID_ARGUMENT == cards.monitor.nvmlDeviceGetUUID(own, name, 96)
        assert MONITOR_INVALID_ARGUMENT == cards.monitor.nvmlDeviceGetTemperature(own, 0, ctypes.byref(memory))

    @pytest.mark.parametrize("device", [0, 1])
    def test_a_card_is_found_by_what_it_says_of_itself(self, cards: Libraries, device: int) -> None:
        """UUID and bus address lead back to the card that gave them; runtime and NVML name the same bus address."""
        handle, again = ctypes.c_void_p(), ctypes.c_void_p()
        uuid, bus = ctypes.create_string_buffer(96), ctypes.create_string_buffer(16)
        cards.monitor.nvmlDeviceGetHandleByIndex_v2(device, ctypes.byref(handle))
        cards.monitor.nvmlDeviceGetUUID(handle, uuid, 96)
        cards.runtime.cudaDeviceGetPCIBusId(bus, 16, device)

        assert SUCCESS == cards.monitor.nvmlDeviceGetHandleByUUID(uuid, ctypes.byref(again))
        assert handle.value == again.value
        assert SUCCESS == cards.monitor.nvmlDeviceGetHandleByPciBusId_v2(bus, ctypes.byref(again))
        assert handle.value == again.value
        assert f"GPU-7672616d-6772-8064-8000-{device:012x}" == uuid.value.decode()

    @pytest.mark.parametrize("bus", [b"", b"0000:00:00.0", b"0000:03:00.0", b"0000:80000001:00.0", b"0000:ffffffff:00.0", b"x"])
    def test_other_bus_addresses_are_not_found(self, cards: Libraries, bus: bytes) -> None:
        """A bus without a card, and what is no bus address, are not found."""
        handle = ctypes.c_void_p()

        assert MONITOR_NOT_FOUND == cards.monitor.nvmlDeviceGetHandleByPciBusId_v2(bus, ctypes.byref(handle))

    def test_this_process_is_the_one_on_the_card(self, cards: Libraries) -> None:
        """The only process on the card uses what the card says is used; without room for it, their number is told."""
        handle, count = ctypes.c_void_p(1), ctypes.c_uint(0)
        room = (ctypes.c_ulonglong * 2)()

        assert 7 == cards.monitor.nvmlDeviceGetComputeRunningProcesses(handle, ctypes.byref(count), None)
        assert 1 == count.value
        assert SUCCESS == cards.monitor.nvmlDeviceGetComputeRunningProcesses(handle, ctypes.byref(count), room)
        assert CONTEXT_BYTES == room[1]


class TestDevices:
    """Runtime and driver know a card by its number."""

    @pytest.mark.parametrize("device", [-1, 2, 2**31 - 1, -(2**31)])
    def test_what_is_no_device_is_refused(self, cards: Libraries, device: int) -> None:
        """A number without a card is an invalid device."""
        properties, value = ctypes.create_string_buffer(2048), ctypes.c_int()

        assert INVALID_DEVICE == cards.runtime.cudaSetDevice(device)
        assert INVALID_DEVICE == cards.runtime.cudaGetDeviceProperties(properties, device)
        assert INVALID_DEVICE == cards.runtime.cudaDeviceGetAttribute(ctypes.byref(value), 16, device)
        assert INVALID_DEVICE == cards.driver.cuDeviceGetAttribute(ctypes.byref(value), 16, device)
        assert INVALID_DEVICE == cards.driver.cuDeviceGet(ctypes.byref(value), device)

    def test_a_device_is_what_was_placed(self, cards: Libraries) -> None:
        """Attributes that come from the card have the card's values."""
        numbers = {  # CUdevice_attribute of cuda.h
            16: "sm_count",
            38: "l2_bytes",
            81: "shared_memory_per_sm_bytes",
            97: "shared_memory_per_block_optin_bytes",
            39: "max_threads_per_sm",
            106: "max_blocks_per_sm",
            37: "memory_bus_bits",
            13: "boost_clock_khz",
            36: "memory_clock_khz",
            32: "ecc",
            75: "major",
            76: "minor",
        }
        value = ctypes.c_int()
        found = {}
        for number, key in numbers.items():
            assert SUCCESS == cards.runtime.cudaDeviceGetAttribute(ctypes.byref(value), number, 1)
            found[key] = value.value

        assert {key: CARD[key] for key in numbers.values()} == found

    def test_an_error_is_remembered_once(self, cards: Libraries) -> None:
        """The last error can be looked at any number of times, and is forgotten when it is asked for."""
        cards.call("cudaFree", 12345)

        assert [1, 1, 1, 0] == [cards.call(f"cuda{what}LastError") for what in ("PeekAt", "PeekAt", "Get", "Get")]
