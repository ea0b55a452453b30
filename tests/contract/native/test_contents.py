"""What bytes do on the emulated card: small ones are real, large ones leave zeros, bad ranges change nothing."""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path

import pytest

from tests.contract.native.libraries import INVALID_PITCH, INVALID_VALUE, SUCCESS, Libraries
from tests.contract.native.plain_ledger import GRANULE_BYTES, REAL_BYTES

REGION_BYTES = 3 * GRANULE_BYTES - 100


@pytest.fixture
def region(cards: Libraries) -> int:
    """Device memory of `REGION_BYTES`, never written."""
    code, address = cards.allocate("cudaMalloc", REGION_BYTES)
    assert SUCCESS == code
    return address


def put(cards: Libraries, to: int, written: bytes) -> int:
    """Copy bytes to the card; returns the code."""
    host = ctypes.create_string_buffer(written, len(written))
    return cards.call("cudaMemcpyAsync", to, ctypes.addressof(host), len(written), 1, 0)


def read(cards: Libraries, from_: int, size_bytes: int) -> bytes:
    """Return bytes of the card; the buffer is full of ones before."""
    buffer = ctypes.create_string_buffer(b"\xff" * size_bytes, size_bytes)
    assert SUCCESS == cards.call("cudaMemcpyAsync", ctypes.addressof(buffer), from_, size_bytes, 2, 0)
    return buffer.raw


def resident_bytes() -> int:
    """Return how much host memory this process occupies."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


class TestCopies:
    """cudaMemcpyAsync between host and card."""

    @pytest.mark.parametrize("offset", [0, 5, GRANULE_BYTES - 3, 2 * GRANULE_BYTES - REAL_BYTES // 2])
    @pytest.mark.parametrize("size_bytes", [1, 4097, REAL_BYTES])
    def test_small_bytes_come_back(self, cards: Libraries, region: int, offset: int, size_bytes: int) -> None:
        """Up to 1 MiB, wherever granules end, the card gives back what it was given, and nothing beside it changed."""
        written = bytes([7, 11, 13]) * (size_bytes // 3 + 1)

        put(cards, region + offset, written[:size_bytes])

        assert written[:size_bytes] == read(cards, region + offset, size_bytes)
        assert b"\0" == read(cards, region + offset + size_bytes, 1)

    def test_bytes_never_written_are_zero(self, cards: Libraries, region: int) -> None:
        """Fresh device memory reads as zero, although it does not exist."""
        assert bytes(REAL_BYTES) == read(cards, region + GRANULE_BYTES // 2, REAL_BYTES)

    def test_zeros_replace_what_was_there(self, cards: Libraries, region: int) -> None:
        """In the middle of other bytes, by a copy and by a fill."""
        put(cards, region, b"\7" * 9)

        put(cards, region + 2, bytes(2))
        cards.call("cudaMemsetAsync", region + 5, 0, 2, 0)

        assert b"\7\7\0\0\7\0\0\7\7" == read(cards, region, 9)

    def test_zeros_in_fresh_memory_take_no_room_on_the_host(self, cards: Libraries) -> None:
        """Statistics of quantised weights begin as zeros, 1 GB of them for 70 billion weights."""
        pieces = 32
        code, address = cards.allocate("cudaMalloc", pieces * REAL_BYTES)
        assert SUCCESS == code
        zeros = ctypes.create_string_buffer(REAL_BYTES)
        before = resident_bytes()

        for place in range(address, address + pieces * REAL_BYTES, REAL_BYTES):
            cards.call("cudaMemcpyAsync", place, ctypes.addressof(zeros), REAL_BYTES, 1, 0)
            cards.call("cudaMemsetAsync", place, 0, REAL_BYTES, 0)

        assert resident_bytes() < before + pieces * REAL_BYTES / 4

    def test_freed_bytes_do_not_come_back(self, cards: Libraries) -> None:
        """Memory that is handed out again is blank, also where its former holder wrote."""
        _, address = cards.allocate("cudaMalloc", 100)
        put(cards, address, b"secret")
        cards.call("cudaFree", address)

        _, again = cards.allocate("cudaMalloc", 100)
        put(cards, again + 50, b"x")

        assert address == again
        assert bytes(50) + b"x" + bytes(49) == read(cards, again, 100)

    @pytest.mark.parametrize("offset", [0, 9, GRANULE_BYTES - 9])
    @pytest.mark.parametrize("size_bytes", [REAL_BYTES + 1, GRANULE_BYTES, GRANULE_BYTES + REAL_BYTES])
    def test_large_bytes_leave_zeros(self, cards: Libraries, region: int, offset: int, size_bytes: int) -> None:
        """A copy of more than 1 MiB to the card wipes what it covers and nothing else."""
        expected = bytearray(REGION_BYTES)
        for block in (0, GRANULE_BYTES):
            put(cards, region + block, b"\x05" * REAL_BYTES)
            expected[block : block + REAL_BYTES] = b"\x05" * REAL_BYTES

        put(cards, region + offset, b"\x09" * size_bytes)

        expected[offset : offset + size_bytes] = bytes(size_bytes)
        windows = range(0, REGION_BYTES - REAL_BYTES, REAL_BYTES)
        assert [expected[at : at + REAL_BYTES] for at in windows] == [read(cards, region + at, REAL_BYTES) for at in windows]

    def test_large_bytes_from_the_card_are_zeros(self, cards: Libraries, region: int) -> None:
        """A copy of more than 1 MiB from the card fills the host's buffer with zeros, also over real bytes."""
        put(cards, region, b"\x05" * REAL_BYTES)

        assert bytes(REAL_BYTES + 1) == read(cards, region, REAL_BYTES + 1)

    def test_overlapping_bytes_move_as_a_whole(self, cards: Libraries, region: int) -> None:
        """A copy on the card onto itself behaves as if it went through a buffer."""
        put(cards, region, bytes(range(100)))

        cards.call("cudaMemcpyAsync", region + 10, region, 90, 3, 0)

        assert bytes(range(10)) + bytes(range(90)) == read(cards, region, 100)

    def test_a_blank_source_wipes_its_target(self, cards: Libraries, region: int) -> None:
        """Copying memory that was never written copies zeros."""
        put(cards, region, b"\x05" * 100)

        cards.call("cudaMemcpyAsync", region, region + GRANULE_BYTES, 50, 3, 0)

        assert bytes(50) + b"\x05" * 50 == read(cards, region, 100)

    def test_bytes_are_counted_by_direction(self, cards: Libraries, region: int) -> None:
        """To the card and from it are counted apart; on the card, and what was refused, not at all."""
        before = cards.counted()
        put(cards, region, b"12345")
        read(cards, region, 3)
        cards.call("cudaMemcpyAsync", region, region + 100, 50, 3, 0)
        put(cards, region + REGION_BYTES - 1, b"12")

        after = cards.counted()

        assert (5, 3) == tuple(after[name] - before[name] for name in ("bytes_to_device", "bytes_to_host"))

    def test_what_the_emulation_copies_is_not_counted(self, cards: Libraries, region: int) -> None:
        """Bytes that no program asked for arrive like others and are counted in neither direction."""
        before = cards.counted()
        host = ctypes.create_string_buffer(b"12345", 5)

        cards.core.vg_copy_uncounted(ctypes.c_void_p(region), host, ctypes.c_size_t(5))

        assert before == cards.counted()
        assert b"12345" == read(cards, region, 5)


class TestBadRanges:
    """Copies and fills that a card refuses."""

    @pytest.mark.parametrize(
        ("offset", "size_bytes"),
        [
            (REGION_BYTES - 1, 2),
            (0, REGION_BYTES + 1),
            (1, 2**64 - 1),
            (100, 2**64 - 100),
            (REGION_BYTES, 1),
            (10 * GRANULE_BYTES, 1),
        ],
    )
    def test_a_range_that_leaves_its_region_is_refused(
        self, cards: Libraries, region: int, offset: int, size_bytes: int
    ) -> None:
        """Past the end, with sizes that wrap around, and in free device memory: invalid values, with nothing written."""
        host = ctypes.create_string_buffer(b"\xff" * 64, 64)
        at = ctypes.addressof(host)

        assert INVALID_VALUE == cards.call("cudaMemcpyAsync", region + offset, at, size_bytes, 1, 0)
        assert INVALID_VALUE == cards.call("cudaMemcpyAsync", at, region + offset, size_bytes, 2, 0)
        assert INVALID_VALUE == cards.call("cudaMemcpyAsync", region, region + offset, size_bytes, 3, 0)
        assert INVALID_VALUE == cards.call("cudaMemsetAsync", region + offset, 1, size_bytes, 0)
        assert b"\xff" * 64 == host.raw
        assert b"\0" == read(cards, region + REGION_BYTES - 1, 1)

    def test_freed_memory_is_no_host_memory(self, cards: Libraries) -> None:
        """A copy to or from freed device memory is an invalid value, not a crash."""
        _, address = cards.allocate("cudaMalloc", 100)
        cards.call("cudaFree", address)

        assert INVALID_VALUE == put(cards, address, b"late")
        assert INVALID_VALUE == cards.call("cudaMemcpyAsync", address + 8, address, 4, 3, 0)
        assert INVALID_VALUE == cards.call("cudaMemsetAsync", address, 0, 4, 0)

    def test_null_is_refused(self, cards: Libraries, region: int) -> None:
        """The null pointer is neither source nor target, except of nothing."""
        assert INVALID_VALUE == cards.call("cudaMemcpyAsync", region, 0, 4, 1, 0)
        assert INVALID_VALUE == cards.call("cudaMemcpyAsync", 0, region, 4, 2, 0)
        assert INVALID_VALUE == cards.call("cudaMemsetAsync", 0, 0, 4, 0)
        assert SUCCESS == cards.call("cudaMemcpyAsync", 0, 0, 0, 2, 0)

    @pytest.mark.parametrize("function", ["cudaHostAlloc", "cudaMallocManaged"])
    def test_host_regions_have_ends_too(self, cards: Libraries, region: int, function: str) -> None:
        """Pinned and managed memory is copied up to its end and not beyond."""
        _, address = cards.allocate(function, 100)

        assert SUCCESS == cards.call("cudaMemcpyAsync", region, address + 50, 50, 4, 0)
        assert INVALID_VALUE == cards.call("cudaMemcpyAsync", region, address + 50, 51, 4, 0)
        assert INVALID_VALUE == cards.call("cudaMemsetAsync", address + 50, 0, 51, 0)

    def test_registered_memory_has_ends_too(self, cards: Libraries, region: int) -> None:
        """A copy may not run out of the registered part of a buffer."""
        host = ctypes.create_string_buffer(200)
        base = ctypes.addressof(host)
        cards.call("cudaHostRegister", base, 100, 0)

        assert SUCCESS == cards.call("cudaMemcpyAsync", region, base, 100, 1, 0)
        assert INVALID_VALUE == cards.call("cudaMemcpyAsync", region, base, 101, 1, 0)
        assert SUCCESS == cards.call("cudaHostUnregister", base)


class TestFills:
    """cudaMemsetAsync and the fills of the driver."""

    @pytest.mark.parametrize(("size_bytes", "kept"), [(1, True), (REAL_BYTES, True), (REAL_BYTES + 1, False)])
    def test_small_fills_are_real(self, cards: Libraries, region: int, size_bytes: int, *, kept: bool) -> None:
        """Up to 1 MiB a fill writes its byte; beyond, zeros."""
        put(cards, region, b"\x05")

        cards.call("cudaMemsetAsync", region, 0x107, size_bytes, 0)

        assert (b"\x07" if kept else b"\0") == read(cards, region + size_bytes - 1, 1)
        assert (b"\x07" if kept else b"\0") == read(cards, region, 1)

    def test_words_are_filled_in_order(self, cards: Libraries, region: int) -> None:
        """A fill with a word repeats its four bytes."""
        cards.call_driver("cuMemsetD32Async", region, 0x04030201, 2, 0)

        assert bytes([1, 2, 3, 4, 1, 2, 3, 4, 0]) == read(cards, region, 9)

    @pytest.mark.parametrize("count", [2**62, 2**62 + 1, 2**63])
    def test_a_count_of_words_does_not_wrap(self, cards: Libraries, region: int, count: int) -> None:
        """So many words that their bytes cannot be counted are an invalid value."""
        assert INVALID_VALUE == cards.call_driver("cuMemsetD32Async", region, 1, count, 0)

    @pytest.mark.parametrize("function", ["cudaHostAlloc", "cudaMallocManaged"])
    def test_memory_of_the_host_is_filled_whatever_its_size(self, cards: Libraries, function: str) -> None:
        """Pinned and managed memory is the host's to read, so a large fill is real there."""
        _, address = cards.allocate(function, 2 * REAL_BYTES)

        cards.call("cudaMemsetAsync", address, 9, 2 * REAL_BYTES, 0)

        assert b"\x09" * 2 * REAL_BYTES == ctypes.string_at(address, 2 * REAL_BYTES)


class TestRows:
    """cudaMemcpy2DAsync."""

    def test_rows_are_copied_with_their_pitches(self, cards: Libraries, region: int) -> None:
        """Each row lands a pitch after the one before, and the gaps stay as they were."""
        put(cards, region, b"abc.def.")
        at = region + 100

        assert SUCCESS == cards.call("cudaMemcpy2DAsync", at, 5, region, 4, 3, 2, 3, 0)
        assert b"abc\0\0def\0" == read(cards, at, 9)

    @pytest.mark.parametrize(("width", "kept"), [(REAL_BYTES // 4, True), (REAL_BYTES // 4 + 1, False)])
    def test_rows_that_are_large_together_leave_zeros(self, cards: Libraries, region: int, width: int, *, kept: bool) -> None:
        """Many small rows are one large copy: beyond 1 MiB in all they are not kept."""
        host = ctypes.create_string_buffer(b"\x07" * (width * 4))

        cards.call("cudaMemcpy2DAsync", region, width, ctypes.addressof(host), width, width, 4, 1, 0)

        assert (b"\x07" if kept else b"\0") == read(cards, region, 1)

    def test_rows_outside_their_region_change_nothing(self, cards: Libraries, region: int) -> None:
        """If the last row would leave the region, the first is not written either."""
        put(cards, region, b"abcdef")

        assert INVALID_VALUE == cards.call("cudaMemcpy2DAsync", region + 100, REGION_BYTES - 102, region, 3, 3, 2, 3, 0)
        assert bytes(3) == read(cards, region + 100, 3)
        assert SUCCESS == cards.call("cudaMemcpy2DAsync", region + 100, REGION_BYTES - 103, region, 3, 3, 2, 3, 0)

    @pytest.mark.parametrize(("pitch", "rows"), [(2**63, 3), (2**64 - 1, 2), (2**32, 2**32 + 1)])
    def test_pitches_do_not_wrap(self, cards: Libraries, region: int, pitch: int, rows: int) -> None:
        """Rows beyond the last address are an invalid value."""
        assert INVALID_VALUE == cards.call("cudaMemcpy2DAsync", region, pitch, region + 8, pitch, 1, rows, 3, 0)

    def test_rows_may_not_overlap(self, cards: Libraries, region: int) -> None:
        """A row wider than a pitch is an invalid pitch."""
        assert INVALID_PITCH == cards.call("cudaMemcpy2DAsync", region, 2, region + 8, 3, 3, 1, 3, 0)
        assert INVALID_PITCH == cards.call("cudaMemcpy2DAsync", region, 3, region + 8, 2, 3, 1, 3, 0)

    @pytest.mark.parametrize(("width", "rows"), [(0, 2**63), (5, 0), (0, 0)])
    def test_no_bytes_are_copied_at_once(self, cards: Libraries, width: int, rows: int) -> None:
        """Rows without width, however many, and no rows are nothing to do."""
        assert SUCCESS == cards.call("cudaMemcpy2DAsync", 0, 8, 0, 8, width, rows, 1, 0)
