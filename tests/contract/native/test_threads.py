"""Many threads at once: the books stay whole. ctypes gives the interpreter's lock away during a call, so calls do overlap."""

from __future__ import annotations

import ctypes
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.contract.native.libraries import CONTEXT_BYTES, INVALID_HANDLE, OUT_OF_MEMORY, SUCCESS, TOTAL_BYTES, Libraries
from tests.contract.native.plain_ledger import GRANULE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS: Final = 8
ROUNDS: Final = 200


def in_threads(work: Callable[[int], object]) -> list[object]:
    """Return what `work` returns for each thread number; raises what the first failed thread raised."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, range(THREADS)))


def in_raw_threads(argument: int, *functions: Any) -> None:
    """Call each function with `argument` in a thread of the C library's own, which the interpreter's lock does not hold up."""
    c_library, threads = ctypes.CDLL(None), [ctypes.c_ulong() for _ in functions]
    for thread, function in zip(threads, functions, strict=True):
        c_library.pthread_create(ctypes.byref(thread), None, function, ctypes.c_void_p(argument))
    for thread in threads:
        c_library.pthread_join(thread, None)


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
    assert CONTEXT_BYTES == cards.usage(0).used_bytes
    assert sum(map(int, map(str, counts))) == grown["driver_allocations"] == grown["driver_frees"]
    assert grown["bytes_to_device"] == grown["bytes_to_host"] == 4096 * grown["driver_allocations"]


def test_threads_never_get_more_than_the_card_has(cards: Libraries) -> None:
    """When all threads allocate until the card is full, they hold exactly what it had, each granule once."""
    room = (TOTAL_BYTES - CONTEXT_BYTES) // GRANULE_BYTES

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
    """When threads free the same region at the same moment, one does so: the other calls change nothing."""
    before = cards.counted()["driver_frees"]
    for _ in range(ROUNDS):
        _, address = cards.allocate("cudaMalloc", 1)
        in_raw_threads(address, *[cards.runtime.cudaFree] * 4)

    assert ROUNDS == cards.counted()["driver_frees"] - before
    assert CONTEXT_BYTES == cards.usage(0).used_bytes


@pytest.mark.parametrize(
    ("create", "use", "destroy"),
    [
        ("cudaEventCreateWithFlags", "cudaEventQuery", "cudaEventDestroy"),
        ("cudaEventCreateWithFlags", "cudaEventSynchronize", "cudaEventDestroy"),
        ("cudaStreamCreateWithPriority", "cudaStreamQuery", "cudaStreamDestroy"),
    ],
)
def test_a_handle_may_be_used_while_it_is_destroyed(cards: Libraries, create: str, use: str, destroy: str) -> None:
    """A handle that another thread destroys is either known or unknown; a sanitizer sees that no dead handle is looked into."""
    for _ in range(ROUNDS):
        handle = cards.create(create, 0, 0)
        functions = [getattr(cards.runtime, name) for name in (use, destroy, use, destroy)]
        in_raw_threads(handle, *functions)

        assert INVALID_HANDLE == cards.call(destroy, handle)


def test_an_event_may_be_recorded_while_it_is_destroyed(cards: Libraries) -> None:
    """Nothing is written to an event that is gone."""
    core = cards.core
    for _ in range(ROUNDS):
        event = cards.create("cudaEventCreateWithFlags", 0)
        in_raw_threads(event, core.vg_event_record, core.vg_event_record, core.vg_event_destroy, core.vg_event_record)

        assert INVALID_HANDLE == cards.call("cudaEventDestroy", event)


def test_a_stream_may_be_asked_while_it_is_destroyed(cards: Libraries) -> None:
    """Nothing is read from a stream that is gone."""
    core = cards.core
    for _ in range(ROUNDS):
        stream = cards.create("cudaStreamCreateWithPriority", 0, 0)
        in_raw_threads(stream, core.vg_stream_priority, core.vg_stream_flags, core.vg_stream_destroy, core.vg_stream_priority)

        assert INVALID_HANDLE == cards.call("cudaStreamDestroy", stream)


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
