"""Many threads at once: the books stay whole. ctypes gives the interpreter's lock away during each call, so calls do overlap."""

from __future__ import annotations

import ctypes
import os
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from tests.contract.native.libraries import CARD, INVALID_HANDLE, OUT_OF_MEMORY, SUCCESS, Libraries
from tests.contract.native.plain_ledger import GRANULE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS: Final = 8
ROUNDS: Final = max(200, int(os.environ.get("VRAMGUARD_TEST_OPERATIONS", "1000")) // THREADS)


def in_threads(work: Callable[[int], object]) -> list[object]:
    """Return what `work` returns for each thread number; raises what the first failed thread raised."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, range(THREADS)))


def test_memory_of_one_thread_is_not_touched_by_another(cards: Libraries) -> None:
    """Each thread reads back what it wrote to its own regions, while all allocate, copy and free."""

    def work(number: int) -> int:
        dice, buffer = random.Random(number), ctypes.create_string_buffer(4096)  # noqa: S311 - no secret
        count = 0
        for turn in range(ROUNDS):
            address = ctypes.c_void_p()
            code = cards.runtime.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(dice.randrange(4096, 2 * GRANULE_BYTES)))
            assert code in (SUCCESS, OUT_OF_MEMORY)
            if code != SUCCESS:
                continue
            block = bytes([number + 1, turn % 251]) * 2048
            buffer.raw = block
            assert SUCCESS == cards.runtime.cudaMemcpy(address, buffer, ctypes.c_size_t(4096), 1)
            assert SUCCESS == cards.runtime.cudaMemcpy(buffer, address, ctypes.c_size_t(4096), 2)
            assert block == buffer.raw
            assert SUCCESS == cards.runtime.cudaFree(address)
            count += 1
        return count

    before = cards.counted()
    counts = in_threads(work)

    after = cards.counted()
    grown = {name: after[name] - before[name] for name in after}
    assert CARD["context_bytes"] == cards.usage(0).used_bytes
    assert sum(map(int, map(str, counts))) == grown["driver_allocations"] == grown["driver_frees"]
    assert grown["bytes_to_device"] == grown["bytes_to_host"] == 4096 * grown["driver_allocations"]


def test_threads_never_get_more_than_the_card_has(cards: Libraries) -> None:
    """When all threads allocate until the card is full, they hold exactly what it had, each granule once."""
    room = (int(str(CARD["total_bytes"])) - int(str(CARD["context_bytes"]))) // GRANULE_BYTES

    def work(_: int) -> list[int]:
        held: list[int] = []
        while True:
            code, address = cards.allocate("cudaMalloc", 1)
            if code != SUCCESS:
                return held
            held.append(address)

    addresses = [address for held in in_threads(work) for address in held]  # type: ignore[attr-defined] # lists of work

    assert room == len(addresses) == len(set(addresses))
    assert [address - min(addresses) for address in sorted(addresses)] == [GRANULE_BYTES * index for index in range(room)]


def test_an_address_is_freed_by_one_thread_only(cards: Libraries) -> None:
    """When all threads free the same region, one succeeds."""
    for _ in range(200):
        _, address = cards.allocate("cudaMalloc", 1)
        codes = in_threads(lambda _, address=address: cards.call("cudaFree", address))  # type: ignore[misc] # bound early

        assert 1 == codes.count(SUCCESS)


def test_events_may_be_recorded_while_they_are_destroyed(cards: Libraries) -> None:
    """A handle that another thread destroys is either known or unknown; nothing is written to it afterwards."""
    shared = [cards.create("cudaEventCreateWithFlags", 0) for _ in range(ROUNDS)]

    def work(number: int) -> set[int]:
        codes = set()
        for handle in shared if number % 2 else reversed(shared):
            codes.add(cards.call("cudaEventRecord", handle, 0))
            codes.add(cards.elapsed_milliseconds(handle, handle)[0])
            codes.add(cards.call("cudaEventDestroy", handle))
        return codes

    codes = set().union(*in_threads(work))  # type: ignore[arg-type] # sets of work

    assert {SUCCESS, INVALID_HANDLE} == codes
    assert {INVALID_HANDLE} == {cards.call("cudaEventQuery", handle) for handle in shared}


def test_streams_and_events_of_many_threads_are_all_known(cards: Libraries) -> None:
    """Handles that threads create at once are different, and known until each is destroyed."""

    def work(_: int) -> int:
        for _ in range(ROUNDS):
            stream, event = cards.create("cudaStreamCreateWithPriority", 0, -1), cards.create("cudaEventCreateWithFlags", 0)
            assert SUCCESS == cards.call("cudaEventRecord", event, stream)
            assert SUCCESS == cards.call("cudaStreamWaitEvent", stream, event, 0)
            assert SUCCESS == cards.call("cudaEventDestroy", event)
            assert SUCCESS == cards.call("cudaStreamDestroy", stream)
        return ROUNDS

    assert [ROUNDS] * THREADS == in_threads(work)


def test_each_thread_has_its_own_device_and_error(cards: Libraries) -> None:
    """The current device and the last error belong to the thread, as in CUDA."""

    def work(number: int) -> tuple[int, int]:
        device = ctypes.c_int()
        cards.call("cudaSetDevice", number % 2)
        for _ in range(ROUNDS):
            cards.runtime.cudaGetDevice(ctypes.byref(device))
            assert number % 2 == device.value
        failed = cards.call("cudaFree", 12345) if number % 2 else SUCCESS
        return failed, cards.call("cudaGetLastError")

    assert [(number % 2, number % 2) for number in range(THREADS)] == in_threads(work)


def test_refusals_of_many_threads_are_each_recorded_once(cards: Libraries) -> None:
    """Threads that call the same functions leave each name once."""
    names = [f"name{index}" for index in range(50)]

    def work(number: int) -> None:
        for name in names[number:] + names[:number]:
            cards.core.vg_refuse(name.encode(), 801)

    in_threads(work)

    assert names == sorted(cards.refused(), key=names.index)
