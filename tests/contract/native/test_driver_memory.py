"""Virtual memory and memory pools: what the model test's operations do not say one by one."""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_size_t, c_ulonglong, c_void_p

import pytest

from tests.contract.native.libraries import INVALID_VALUE, NOT_SUPPORTED, OUT_OF_MEMORY, SUCCESS, Libraries, card_text
from tests.contract.native.plain_ledger import GRANULE_BYTES

ROUND_CARD = card_text(total_bytes=60 << 20, context_bytes=GRANULE_BYTES)
STEP_BYTES = 32 << 20
RESERVED = 5


class OutsidePeaks(ctypes.Structure):
    """`vg_outside` of core.h."""

    _fields_ = (("managed_bytes", c_ulonglong), ("managed_host_bytes", c_ulonglong), ("pinned_bytes", c_ulonglong))


def outside(cards: Libraries) -> tuple[int, int, int]:
    """Return the peaks of managed memory, of what of it is on the host, and of page-locked memory."""
    cards.core.vg_outside_peaks.restype = OutsidePeaks
    found = cards.core.vg_outside_peaks(0)
    return found.managed_bytes, found.managed_host_bytes, found.pinned_bytes


def byte_at(cards: Libraries, address: int) -> int:
    """Return a byte of the card's memory."""
    read = ctypes.create_string_buffer(1)
    assert SUCCESS == cards.call("cudaMemcpy", ctypes.addressof(read), address, 1, 2)
    return read.raw[0]


def mapped(cards: Libraries, *sizes: int) -> tuple[int, list[int]]:
    """Return a range with memories of these sizes mapped one after the other, and their handles."""
    _, base = cards.reserve(sum(sizes))
    handles, at = [], base
    for size_bytes in sizes:
        handles.append(cards.create_memory(0, size_bytes)[1])
        assert SUCCESS == cards.call_driver("cuMemMap", at, size_bytes, 0, handles[-1], 0)
        at += size_bytes
    assert SUCCESS == cards.set_access(base, sum(sizes), 3)
    return base, handles


def give_back(cards: Libraries, base: int, size_bytes: int, handles: list[int]) -> None:
    """Unmap, release and free."""
    assert SUCCESS == cards.call_driver("cuMemUnmap", base, size_bytes)
    assert [SUCCESS] * len(handles) == [cards.call_driver("cuMemRelease", handle) for handle in handles]
    assert SUCCESS == cards.call_driver("cuMemAddressFree", base, size_bytes)


def test_bytes_run_on_from_one_mapping_to_the_next(cards: Libraries) -> None:
    """A copy across the border of two mappings is one copy, and what is unmapped is lost."""
    base, handles = mapped(cards, GRANULE_BYTES, 2 * GRANULE_BYTES)
    border = base + GRANULE_BYTES

    assert SUCCESS == cards.call("cudaMemset", border - 2, 7, 4)
    assert [0, 7, 7, 7, 7, 0] == [byte_at(cards, border + offset) for offset in range(-3, 3)]
    assert SUCCESS == cards.call_driver("cuMemUnmap", border, 2 * GRANULE_BYTES)
    assert INVALID_VALUE == cards.call("cudaMemset", border - 2, 7, 4)
    assert SUCCESS == cards.call_driver("cuMemMap", border, 2 * GRANULE_BYTES, 0, handles[1], 0)
    assert SUCCESS == cards.set_access(border, 2 * GRANULE_BYTES, 3)
    assert 0 == byte_at(cards, border)
    give_back(cards, base, 3 * GRANULE_BYTES, handles)


def test_memory_is_used_until_it_is_unmapped_and_released(cards: Libraries) -> None:
    """The card is charged for physical memory alone: not for addresses, and no longer than handle or mapping live."""
    before = cards.usage(0).used_bytes
    base, (handle,) = mapped(cards, GRANULE_BYTES)
    codes = [cards.call_driver("cuMemRelease", handle)]
    released = cards.usage(0).used_bytes
    codes.append(cards.call_driver("cuMemRelease", handle))
    codes.append(cards.call_driver("cuMemUnmap", base, GRANULE_BYTES))

    assert [SUCCESS, INVALID_VALUE, SUCCESS] == codes
    assert (before + GRANULE_BYTES, before) == (released, cards.usage(0).used_bytes)
    assert SUCCESS == cards.call_driver("cuMemAddressFree", base, GRANULE_BYTES)


def test_handles_for_other_processes_are_refused_by_name(cards: Libraries) -> None:
    """Export, import and CUDA IPC are not emulated."""
    for name in ("cuMemExportToShareableHandle", "cuMemImportFromShareableHandle", "cuMemPoolExportToShareableHandle"):
        assert NOT_SUPPORTED == cards.call_driver(name, 0, 0, 0, 0)
    assert NOT_SUPPORTED == cards.call("cudaIpcGetMemHandle", 0, 0)

    assert [
        "cuMemExportToShareableHandle",
        "cuMemImportFromShareableHandle",
        "cuMemPoolExportToShareableHandle",
        "cudaIpcGetMemHandle",
    ] == cards.refused()


def test_a_pool_keeps_what_its_threshold_says(cards: Libraries) -> None:
    """What is freed stays in the pool until a synchronisation, and longer up to the threshold."""
    cards.place(ROUND_CARD)
    pool = cards.pool_of(0)
    cards.set_pool_attribute(pool, 4, 0)
    reserved = []
    for threshold in (0, 2**64 - 1):
        cards.set_pool_attribute(pool, 4, threshold)
        _, address = cards.allocate_from(pool, 100)
        cards.call("cudaFreeAsync", address, 0)
        reserved.append(cards.pool_attribute(pool, RESERVED))
        cards.call("cudaDeviceSynchronize")
        reserved.append(cards.pool_attribute(pool, RESERVED))
    cards.set_pool_attribute(pool, 4, 0)
    cards.call("cudaMemPoolTrimTo", pool, 0)

    assert [STEP_BYTES, 0, STEP_BYTES, STEP_BYTES] == reserved


def test_what_pools_do_not_use_is_there_for_others(cards: Libraries) -> None:
    """`cudaMalloc` gets what a pool holds and nobody uses; what is in use it does not get."""
    cards.place(ROUND_CARD)
    pool = cards.pool_of(0)
    _, kept = cards.allocate_from(pool, 1)
    room = 60 * (1 << 20) - 2 * GRANULE_BYTES

    codes = [cards.allocate("cudaMalloc", room + 1)[0], cards.allocate("cudaMalloc", room)[0]]

    assert [OUT_OF_MEMORY, SUCCESS] == codes
    assert GRANULE_BYTES == cards.pool_attribute(pool, RESERVED)
    assert SUCCESS == cards.call("cudaFree", kept)
    cards.call("cudaMemPoolTrimTo", pool, 0)


def test_pool_memory_starts_empty_beside_live_memory(cards: Libraries) -> None:
    """Two allocations share a granule; what is freed and had again is zero, and the neighbour keeps its bytes."""
    pool = cards.pool_of(0)
    (_, first), (_, second) = cards.allocate_from(pool, 512), cards.allocate_from(pool, 512)
    cards.call("cudaMemset", first, 1, 512)
    cards.call("cudaMemset", second, 2, 512)
    cards.call("cudaFreeAsync", first, 0)
    _, again = cards.allocate_from(pool, 512)

    assert first == again
    assert [0, 2] == [byte_at(cards, again), byte_at(cards, second)]
    for address in (again, second):
        cards.call("cudaFreeAsync", address, 0)
    cards.call("cudaMemPoolTrimTo", pool, 0)


def test_a_pool_of_ones_own_becomes_the_current_one(cards: Libraries) -> None:
    """`cudaMallocAsync` takes from the pool that was chosen; a destroyed pool lives on in its memory; default pools stay."""
    pool, address = cards.create_pool(0), c_void_p()
    before = cards.usage(0).used_bytes
    codes = [cards.call("cudaDeviceSetMemPool", 0, pool)]
    codes.append(cards.runtime.cudaMallocAsync(ctypes.byref(address), c_size_t(1), c_void_p()))
    reserved = cards.pool_attribute(pool, RESERVED)
    codes += [cards.call("cudaMemPoolDestroy", pool), cards.call("cudaMemPoolDestroy", pool)]
    destroyed = cards.usage(0).used_bytes - before
    codes.append(cards.call("cudaFree", address.value or 0))

    assert [SUCCESS, SUCCESS, SUCCESS, INVALID_VALUE, SUCCESS] == codes
    assert (STEP_BYTES, GRANULE_BYTES) == (reserved, destroyed)
    assert before == cards.usage(0).used_bytes
    assert INVALID_VALUE == cards.call("cudaMemPoolDestroy", cards.pool_of(0))


def test_managed_memory_moves_to_the_host_when_the_card_fills(cards: Libraries) -> None:
    """Peaks tell how much managed memory there was, what of it lay on the host, and page-locked memory."""
    cards.place(ROUND_CARD)
    cards.core.vg_reset_peak()
    _, managed = cards.allocate("cudaMallocManaged", 30 << 20)
    roomy = outside(cards)
    _, device = cards.allocate("cudaMalloc", 40 << 20)
    _, pinned = cards.allocate("cudaHostAlloc", 5 << 20)
    crowded = outside(cards)
    for function, address in (("cudaFree", device), ("cudaFree", managed), ("cudaFreeHost", pinned)):
        cards.call(function, address)
    cards.core.vg_reset_peak()

    assert (30 << 20, 0, 0) == roomy
    assert (30 << 20, (30 + 40 + 2 - 60) << 20, 5 << 20) == crowded
    assert (0, 0, 0) == outside(cards)


@pytest.mark.parametrize(("offset", "size_bytes", "code"), [(0, 100, SUCCESS), (50, 50, SUCCESS), (50, 51, INVALID_VALUE)])
def test_advice_is_taken_about_managed_memory_alone(cards: Libraries, offset: int, size_bytes: int, code: int) -> None:
    """Advice and prefetching are accepted for a part of managed memory, and for nothing else."""
    (_, managed), (_, device) = cards.allocate("cudaMallocManaged", 100), cards.allocate("cudaMalloc", 100)
    place = (c_int * 2)(1, 0)  # cudaMemLocation
    location = c_ulonglong.from_buffer(place)
    for function in ("cudaMemAdvise", "cudaMemPrefetchAsync"):
        arguments = (1, location.value) if function == "cudaMemAdvise" else (location.value, 0, 0)
        assert code == cards.call(function, managed + offset, size_bytes, *arguments)
        assert INVALID_VALUE == cards.call(function, device, 1, *arguments)
