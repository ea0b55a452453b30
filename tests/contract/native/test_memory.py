"""Allocation by the emulated runtime and driver: who holds what, and how much of the card is used."""

from __future__ import annotations

import ctypes

import pytest

from tests.contract.native.libraries import (
    ALREADY_REGISTERED,
    CONTEXT_BYTES,
    INVALID_VALUE,
    NO_DEVICE,
    NOT_REGISTERED,
    OUT_OF_MEMORY,
    SUCCESS,
    Libraries,
    card_text,
)
from tests.contract.native.plain_ledger import GRANULE_BYTES

ROUND_CARD = card_text(total_bytes=10 * GRANULE_BYTES, context_bytes=GRANULE_BYTES)
"""A card with room for nine granules."""
UNKNOWN = (0, -2, None, None)


def allocated(cards: Libraries, size_bytes: int) -> int:
    """Return the address of new device memory."""
    code, address = cards.allocate("cudaMalloc", size_bytes)
    assert SUCCESS == code
    return address


def free_all(cards: Libraries, *addresses: int) -> None:
    """Free device or managed memory."""
    assert [SUCCESS] * len(addresses) == [cards.call("cudaFree", address) for address in addresses]


class TestDeviceMemory:
    """cudaMalloc and cudaFree."""

    @pytest.mark.parametrize(
        ("size_bytes", "charged_bytes"),
        [
            (1, GRANULE_BYTES),
            (GRANULE_BYTES - 1, GRANULE_BYTES),
            (GRANULE_BYTES, GRANULE_BYTES),
            (GRANULE_BYTES + 1, 2 * GRANULE_BYTES),
        ],
    )
    def test_the_card_is_charged_whole_granules(self, cards: Libraries, size_bytes: int, charged_bytes: int) -> None:
        """An allocation uses the card in steps of 2 MiB, and freeing gives all of it back."""
        before_bytes = cards.usage(0).used_bytes

        address = allocated(cards, size_bytes)
        used_bytes = cards.usage(0).used_bytes
        free_all(cards, address)

        assert charged_bytes == used_bytes - before_bytes
        assert before_bytes == cards.usage(0).used_bytes

    @pytest.mark.parametrize(("granules", "code"), [(8, SUCCESS), (9, SUCCESS), (10, OUT_OF_MEMORY)])
    def test_the_card_is_full_at_its_last_byte(self, cards: Libraries, granules: int, code: int) -> None:
        """With nine granules free, nine can be had and ten cannot."""
        cards.place(ROUND_CARD)

        found, _ = cards.allocate("cudaMalloc", granules * GRANULE_BYTES)

        assert code == found
        assert (9 - granules if code == SUCCESS else 9) * GRANULE_BYTES == cards.memory_info()[1]

    @pytest.mark.parametrize(("missing_bytes", "code"), [(0, SUCCESS), (1, OUT_OF_MEMORY)])
    def test_a_granule_is_whole_or_not_there(self, cards: Libraries, missing_bytes: int, code: int) -> None:
        """A card that lacks one byte of its last granule cannot give that granule."""
        cards.place(card_text(total_bytes=2 * GRANULE_BYTES - missing_bytes, context_bytes=GRANULE_BYTES))

        assert code == cards.allocate("cudaMalloc", 1)[0]

    def test_a_full_card_has_room_again_after_a_free(self, cards: Libraries) -> None:
        """What was refused for want of room is granted once room was made."""
        cards.place(ROUND_CARD)
        held = allocated(cards, 9 * GRANULE_BYTES)

        refused, _ = cards.allocate("cudaMalloc", 1)
        free_all(cards, held)
        granted, _ = cards.allocate("cudaMalloc", 1)

        assert [OUT_OF_MEMORY, SUCCESS] == [refused, granted]

    def test_gaps_never_make_an_allocation_fail(self, cards: Libraries) -> None:
        """On a card that is all gaps of one granule, everything that is free can still be had in one piece."""
        cards.place(ROUND_CARD)
        held = [allocated(cards, GRANULE_BYTES) for _ in range(9)]
        free_all(cards, *held[::2])

        whole = allocated(cards, 5 * GRANULE_BYTES)

        assert held[-1] == whole

    def test_the_lowest_address_is_given_out_first(self, cards: Libraries) -> None:
        """A gap is used again before new addresses are, so that two equal runs see equal addresses."""
        first, second, third = (allocated(cards, 3 * GRANULE_BYTES) for _ in range(3))
        free_all(cards, first, second)

        again = [allocated(cards, size_bytes) for size_bytes in (4 * GRANULE_BYTES, 2 * GRANULE_BYTES, GRANULE_BYTES)]

        assert [first, first + 4 * GRANULE_BYTES, third + 3 * GRANULE_BYTES] == again

    def test_no_bytes_are_no_address(self, cards: Libraries) -> None:
        """Asking for nothing succeeds with a null pointer, which may be freed."""
        assert (SUCCESS, 0) == cards.allocate("cudaMalloc", 0)
        assert SUCCESS == cards.call("cudaFree", 0)

    @pytest.mark.parametrize("size_bytes", [2**48, 2**63, 2**64 - GRANULE_BYTES, 2**64 - 1])
    def test_a_size_beyond_any_card_is_out_of_memory(self, cards: Libraries, size_bytes: int) -> None:
        """Sizes that cannot be rounded up do not wrap around."""
        assert (OUT_OF_MEMORY, 0) == cards.allocate("cudaMalloc", size_bytes)
        assert (OUT_OF_MEMORY, 0) == cards.allocate_by_driver(size_bytes)

    @pytest.mark.parametrize("offset", [0, 1, GRANULE_BYTES - 1, GRANULE_BYTES])
    def test_what_is_not_a_live_base_cannot_be_freed(self, cards: Libraries, offset: int) -> None:
        """A second free, and a free of an address inside or past a region, are invalid values and change nothing."""
        live, gone = allocated(cards, GRANULE_BYTES), allocated(cards, GRANULE_BYTES)
        free_all(cards, gone)
        used_bytes = cards.usage(0).used_bytes

        address = live + offset if offset else gone

        assert INVALID_VALUE == cards.call("cudaFree", address)
        assert INVALID_VALUE == cards.call_driver("cuMemFree_v2", address)
        assert used_bytes == cards.usage(0).used_bytes

    def test_a_freed_address_is_unknown(self, cards: Libraries) -> None:
        """Attributes of freed device memory are those of memory that the card never knew."""
        address = allocated(cards, GRANULE_BYTES)
        known = cards.attributes(address + GRANULE_BYTES - 1)
        free_all(cards, address)

        assert (2, 0, address + GRANULE_BYTES - 1, None) == known
        assert UNKNOWN == cards.attributes(address)

    def test_only_what_came_about_is_counted(self, cards: Libraries) -> None:
        """Refused allocations and frees, and memory that is not the card's, leave the counters alone."""
        before = cards.counted()
        free_all(cards, allocated(cards, 1))
        cards.allocate("cudaMalloc", 2**63)
        cards.call("cudaFree", 12345)
        _, managed = cards.allocate("cudaMallocManaged", 1)
        free_all(cards, managed)

        after = cards.counted()

        assert (1, 1) == tuple(after[name] - before[name] for name in ("driver_allocations", "driver_frees"))

    def test_the_peak_outlives_the_memory(self, cards: Libraries) -> None:
        """The peak is the largest sum since it was reset, context included."""
        cards.core.vg_reset_peak()
        context_bytes = cards.usage(0).used_bytes
        free_all(cards, allocated(cards, 3 * GRANULE_BYTES))
        peak_bytes = cards.usage(0).peak_bytes
        cards.core.vg_reset_peak()

        assert context_bytes + 3 * GRANULE_BYTES == peak_bytes
        assert context_bytes == cards.usage(0).peak_bytes


class TestTwoCards:
    """Memory belongs to the device that was current."""

    def test_each_card_has_books_of_its_own(self, cards: Libraries) -> None:
        """Memory on one card leaves the other alone, and its pointers say where it is."""
        cards.call("cudaSetDevice", 1)
        address = allocated(cards, GRANULE_BYTES)
        cards.call("cudaSetDevice", 0)

        assert CONTEXT_BYTES == cards.usage(0).used_bytes
        assert (2, 1, address, None) == cards.attributes(address)

    @pytest.mark.parametrize("device", [0, 1])
    def test_every_library_names_the_same_numbers(self, cards: Libraries, device: int) -> None:
        """Runtime, driver and NVML agree on what is free."""
        cards.call("cudaSetDevice", device)
        allocated(cards, GRANULE_BYTES)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()

        code = cards.driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        seen = cards.memory_info()

        assert (code, free.value, total.value) == seen
        assert (seen[2], seen[1], seen[2] - seen[1]) == cards.monitored(device)


class TestManagedMemory:
    """cudaMallocManaged: fills what is free, and gives way."""

    def test_managed_memory_may_exceed_the_card(self, cards: Libraries) -> None:
        """Twice the card can be managed; all that is free is then full, and nothing fails."""
        cards.place(ROUND_CARD)
        code, managed = cards.allocate("cudaMallocManaged", 20 * GRANULE_BYTES)
        usage = cards.usage(0)
        free_all(cards, managed)

        assert (SUCCESS, GRANULE_BYTES, 9 * GRANULE_BYTES) == (code, usage.used_bytes, usage.managed_bytes)
        assert 0 == cards.usage(0).managed_bytes

    def test_managed_memory_is_evicted_for_device_memory(self, cards: Libraries) -> None:
        """Device memory is granted though managed memory fills the card."""
        cards.place(ROUND_CARD)
        cards.allocate("cudaMallocManaged", 20 * GRANULE_BYTES)

        code, _ = cards.allocate("cudaMalloc", 8 * GRANULE_BYTES)

        assert (SUCCESS, GRANULE_BYTES) == (code, cards.usage(0).managed_bytes)

    def test_no_managed_bytes_are_an_error(self, cards: Libraries) -> None:
        """Unlike device memory, a managed region of no size is an invalid value."""
        assert (INVALID_VALUE, 0) == cards.allocate("cudaMallocManaged", 0)

    def test_managed_memory_is_known_to_both_sides(self, cards: Libraries) -> None:
        """A managed pointer is the same on card and host, and is not pinned memory."""
        _, managed = cards.allocate("cudaMallocManaged", 100)

        assert (3, 0, managed + 99, managed + 99) == cards.attributes(managed + 99)
        assert INVALID_VALUE == cards.call("cudaFreeHost", managed)


class TestHostMemory:
    """Pinned and registered memory."""

    @pytest.mark.parametrize("function", ["cudaHostAlloc", "cudaMallocHost"])
    def test_pinned_memory_is_freed_by_its_own_function(self, cards: Libraries, function: str) -> None:
        """Pinned memory uses nothing of the card, is not freed by cudaFree, and is freed once."""
        before = cards.memory_info()
        code, pinned = cards.allocate(function, 3 * GRANULE_BYTES)

        assert SUCCESS == code
        assert before == cards.memory_info()
        assert (1, 0, pinned, pinned) == cards.attributes(pinned)
        assert INVALID_VALUE == cards.call("cudaFree", pinned)
        assert SUCCESS == cards.call("cudaFreeHost", pinned)
        assert INVALID_VALUE == cards.call("cudaFreeHost", pinned)

    def test_no_pinned_bytes_are_no_address(self, cards: Libraries) -> None:
        """Pinning nothing succeeds with a null pointer."""
        assert (SUCCESS, 0) == cards.allocate("cudaMallocHost", 0)
        assert SUCCESS == cards.call("cudaFreeHost", 0)

    @pytest.mark.parametrize("function", ["cudaHostAlloc", "cudaMallocManaged"])
    @pytest.mark.parametrize("size_bytes", [2**62, 2**64 - GRANULE_BYTES, 2**64 - GRANULE_BYTES + 1, 2**64 - 1])
    def test_want_of_host_memory_is_told_from_a_full_card(self, cards: Libraries, function: str, size_bytes: int) -> None:
        """What this host cannot give is out of memory, and is recorded so that nobody takes it for the card's verdict."""
        assert (OUT_OF_MEMORY, 0) == cards.allocate(function, size_bytes)
        assert ["more memory than this host can give"] == cards.refused()

    @pytest.mark.parametrize(
        ("begin", "size"), [(0, 1), (500, 500), (500, 501), (1000, 1000), (1999, 1), (1999, 100), (2000, 100), (500, 3000)]
    )
    def test_registered_memory_may_not_overlap(self, cards: Libraries, begin: int, size: int) -> None:
        """With [1000, 2000) registered, a range that touches it anywhere is refused."""
        host = ctypes.create_string_buffer(4000)
        base = ctypes.addressof(host)
        assert SUCCESS == cards.call("cudaHostRegister", base + 1000, 1000, 0)

        touches = begin < 2000 and begin + size > 1000
        code = cards.call("cudaHostRegister", base + begin, size, 0)

        assert (ALREADY_REGISTERED if touches else SUCCESS) == code
        assert (1, 0, base + 1999, base + 1999) == cards.attributes(base + 1999)
        assert (UNKNOWN if begin != 2000 else (1, 0, base + 2000, base + 2000)) == cards.attributes(base + 2000)
        assert SUCCESS == cards.call("cudaHostUnregister", base + 1000)
        assert (NOT_REGISTERED if touches else SUCCESS) == cards.call("cudaHostUnregister", base + begin)

    @pytest.mark.parametrize(("offset", "size_bytes"), [(0, 0), (0, 2**64 - 1), (None, 100)])
    def test_what_is_no_range_cannot_be_registered(self, cards: Libraries, offset: int | None, size_bytes: int) -> None:
        """No bytes, bytes beyond the last address, and the null pointer are invalid values."""
        host = ctypes.create_string_buffer(16)
        address = 0 if offset is None else ctypes.addressof(host)

        assert INVALID_VALUE == cards.call("cudaHostRegister", address, size_bytes, 0)

    def test_device_memory_cannot_be_registered(self, cards: Libraries) -> None:
        """An address that can only be the card's is no host memory, whether it is in use or free."""
        address = allocated(cards, 1)
        codes = {cards.call("cudaHostRegister", address + offset, 4096, 0) for offset in (0, GRANULE_BYTES, 5 * GRANULE_BYTES)}
        free_all(cards, address)

        assert {ALREADY_REGISTERED} == codes
        assert address == allocated(cards, 1)

    def test_registered_memory_is_neither_freed_nor_unregistered_twice(self, cards: Libraries) -> None:
        """Only cudaHostUnregister ends a registration, once, and only by its base."""
        host = ctypes.create_string_buffer(64)
        base = ctypes.addressof(host)
        cards.call("cudaHostRegister", base, 64, 0)

        assert INVALID_VALUE == cards.call("cudaFree", base)
        assert INVALID_VALUE == cards.call("cudaFreeHost", base)
        assert NOT_REGISTERED == cards.call("cudaHostUnregister", base + 1)
        assert SUCCESS == cards.call("cudaHostUnregister", base)
        assert NOT_REGISTERED == cards.call("cudaHostUnregister", base)
        assert NOT_REGISTERED == cards.call("cudaHostUnregister", 0)


class TestNoCard:
    """What the libraries answer when no card is placed."""

    @pytest.fixture
    def bare(self, cards: Libraries) -> Libraries:
        """The libraries without a card."""
        assert cards.place(card_text(count=0)) is None
        return cards

    @pytest.mark.parametrize("function", ["cudaMalloc", "cudaMallocManaged", "cudaHostAlloc"])
    def test_nothing_is_allocated(self, bare: Libraries, function: str) -> None:
        """Memory of every kind is refused for want of a device."""
        assert (NO_DEVICE, 0) == bare.allocate(function, 1)

    def test_nothing_is_allocated_by_the_driver(self, bare: Libraries) -> None:
        """The driver says the same."""
        assert (NO_DEVICE, 0) == bare.allocate_by_driver(1)

    def test_there_is_no_device(self, bare: Libraries) -> None:
        """Every library that counts devices counts none, and none can be chosen, launched on or asked for its memory."""
        count = ctypes.c_uint(7)
        at = ctypes.addressof(count)

        assert [NO_DEVICE, 0] == [bare.call("cudaGetDeviceCount", at), count.value]
        assert NO_DEVICE == bare.call("cudaGetDevice", at)
        assert NO_DEVICE == bare.call("cudaSetDevice", 0)
        assert NO_DEVICE == bare.launch()
        assert NO_DEVICE == bare.memory_info()[0]
        assert NO_DEVICE == bare.call_driver("cuInit", 0)
        assert NO_DEVICE == bare.call_driver("cuCtxGetDevice", at)
        count.value = 7
        assert [SUCCESS, 0] == [bare.monitor.nvmlDeviceGetCount_v2(ctypes.byref(count)), count.value]
