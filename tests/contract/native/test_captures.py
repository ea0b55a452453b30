"""Streams under capture and the graphs that come of it."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from ctypes import byref, c_int, c_size_t, c_ulonglong, c_void_p
from typing import Final

import pytest

from tests.contract.native.libraries import INVALID_HANDLE, INVALID_VALUE, SUCCESS, Libraries

ILLEGAL_STATE, UNSUPPORTED, INVALIDATED, MERGE, UNMATCHED = 401, 900, 901, 902, 903
UNJOINED, ISOLATION, IMPLICIT, CAPTURED_EVENT, WRONG_THREAD = 904, 905, 906, 907, 908
GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2
NON_BLOCKING: Final = 1
ACTIVE, SPOILED = 1, 2


def stream_of(cards: Libraries, flags: int = NON_BLOCKING) -> int:
    """Return a new stream."""
    return cards.create("cudaStreamCreateWithPriority", flags, 0)


def event_of(cards: Libraries) -> int:
    """Return a new event."""
    return cards.create("cudaEventCreateWithFlags", 0)


def began(cards: Libraries, stream: int, mode: int = GLOBAL) -> int:
    """Return the code of the beginning of a capture."""
    return cards.call("cudaStreamBeginCapture", stream, mode)


def ended(cards: Libraries, stream: int) -> tuple[int, int]:
    """Return code and graph of the end of a capture."""
    graph = c_void_p()
    code: int = cards.runtime.cudaStreamEndCapture(c_void_p(stream), byref(graph))
    return code, graph.value or 0


def launch(cards: Libraries, stream: int) -> int:
    """Return the code of a kernel on a stream."""
    one = (c_int * 3)(1, 1, 1)
    return cards.call_driver("cuLaunchKernel", 0, *one, *one, 0, stream, 0, 0)


def executable(cards: Libraries, graph: int) -> int:
    """Return the executable graph."""
    made = c_void_p()
    assert SUCCESS == cards.runtime.cudaGraphInstantiate(byref(made), c_void_p(graph), c_ulonglong(0))
    return made.value or 0


def state(cards: Libraries, stream: int) -> int:
    """Return whether a stream is under capture."""
    found = c_int()
    assert SUCCESS == cards.runtime.cudaStreamIsCapturing(c_void_p(stream), byref(found))
    return found.value


def test_work_is_recorded_and_done_at_each_launch(cards: Libraries) -> None:
    """Kernels, fills and copies under capture are neither done nor counted; a launch does all of them, in order."""
    stream, (_, address) = stream_of(cards), cards.allocate("cudaMalloc", 4096)
    host = ctypes.create_string_buffer(b"\xff" * 8, 8)
    before = cards.counted()

    codes = [
        began(cards, stream),
        launch(cards, stream),
        cards.call("cudaMemsetAsync", address, 7, 8, stream),
        cards.call("cudaMemcpyAsync", ctypes.addressof(host), address, 8, 2, stream),
    ]
    code, graph = ended(cards, stream)
    recorded = cards.counted()
    kept = host.raw
    runnable = executable(cards, graph)
    launched = [cards.call("cudaGraphLaunch", runnable, stream) for _ in range(2)]

    assert [SUCCESS] * 7 == [*codes, code, *launched]
    assert (before, b"\xff" * 8, b"\x07" * 8) == (recorded, kept, host.raw)
    assert 2 == cards.counted()["launches"] - before["launches"]


def test_an_executable_graph_outlives_its_graph(cards: Libraries) -> None:
    """Graphs tell their number of nodes, and are destroyed once."""
    stream = stream_of(cards)
    began(cards, stream)
    launch(cards, stream)
    launch(cards, stream)
    _, graph = ended(cards, stream)
    count = c_size_t()
    asked = cards.runtime.cudaGraphGetNodes(c_void_p(graph), None, byref(count))
    runnable = executable(cards, graph)

    codes = [cards.call("cudaGraphDestroy", graph), cards.call("cudaGraphDestroy", graph)]
    launched = cards.call("cudaGraphLaunch", runnable, stream)
    gone = [cards.call("cudaGraphExecDestroy", runnable), cards.call("cudaGraphLaunch", runnable, stream)]

    assert (SUCCESS, 2) == (asked, count.value)
    assert [SUCCESS, INVALID_VALUE] == codes
    assert SUCCESS == launched
    assert [SUCCESS, INVALID_VALUE] == gone


def test_a_graph_can_be_captured_into_another(cards: Libraries) -> None:
    """A launch under capture adds the graph's work."""
    stream = stream_of(cards)
    began(cards, stream)
    launch(cards, stream)
    inner = executable(cards, ended(cards, stream)[1])
    began(cards, stream)
    cards.call("cudaGraphLaunch", inner, stream)
    cards.call("cudaGraphLaunch", inner, stream)
    outer = executable(cards, ended(cards, stream)[1])
    before = cards.counted()["launches"]

    assert SUCCESS == cards.call("cudaGraphLaunch", outer, stream)
    assert 2 == cards.counted()["launches"] - before


@pytest.mark.parametrize(("joins_again", "code"), [(True, SUCCESS), (False, UNJOINED)])
def test_another_stream_takes_part_until_it_is_waited_for(cards: Libraries, *, joins_again: bool, code: int) -> None:
    """A stream that waits for an event of the capture is under capture too, and must be waited for before the end."""
    origin, side, fork, join = stream_of(cards), stream_of(cards), event_of(cards), event_of(cards)
    began(cards, origin)
    cards.call("cudaEventRecord", fork, origin)
    cards.call("cudaStreamWaitEvent", side, fork, 0)
    captured = state(cards, side)
    launch(cards, side)
    if joins_again:
        cards.call("cudaEventRecord", join, side)
        cards.call("cudaStreamWaitEvent", origin, join, 0)

    found, graph = ended(cards, origin)

    assert (ACTIVE, code, code == SUCCESS) == (captured, found, bool(graph))
    assert 0 == state(cards, origin) == state(cards, side)


@pytest.mark.parametrize(
    ("function", "code"),
    [
        ("cudaDeviceSynchronize", UNSUPPORTED),
        ("cudaStreamSynchronize", UNSUPPORTED),
        ("cudaStreamQuery", UNSUPPORTED),
        ("cudaEventQuery", CAPTURED_EVENT),
        ("cudaEventSynchronize", CAPTURED_EVENT),
    ],
)
def test_waiting_spoils_a_capture(cards: Libraries, function: str, code: int) -> None:
    """What waits for work that is not done is an error; then so is everything else, up to the end, which gives no graph."""
    stream, event = stream_of(cards), event_of(cards)
    began(cards, stream)
    cards.call("cudaEventRecord", event, stream)
    argument = {"cudaStreamSynchronize": stream, "cudaStreamQuery": stream}.get(function, event)

    assert code == cards.call(function, argument)
    assert SPOILED == state(cards, stream)
    assert INVALIDATED == launch(cards, stream)
    assert (INVALIDATED, 0) == ended(cards, stream)
    assert SUCCESS == launch(cards, stream)


@pytest.mark.parametrize(
    ("capture", "own", "code"),
    [
        (GLOBAL, GLOBAL, UNSUPPORTED),
        (THREAD_LOCAL, GLOBAL, UNSUPPORTED),
        (RELAXED, GLOBAL, SUCCESS),
        (GLOBAL, RELAXED, SUCCESS),
    ],
)
def test_allocation_is_forbidden_by_the_modes_of_both(cards: Libraries, capture: int, own: int, code: int) -> None:
    """`cudaMalloc` may wait for the card; a thread may declare that it knows what it does."""
    stream, mode = stream_of(cards), c_int(own)
    began(cards, stream, capture)
    cards.runtime.cudaThreadExchangeStreamCaptureMode(byref(mode))

    found, _ = cards.allocate("cudaMalloc", 1)
    cards.runtime.cudaThreadExchangeStreamCaptureMode(byref(mode))

    assert (code, own) == (found, mode.value)
    assert (code == SUCCESS) == (ended(cards, stream)[0] == SUCCESS)


@pytest.mark.parametrize(("mode", "code"), [(GLOBAL, UNSUPPORTED), (THREAD_LOCAL, SUCCESS)])
def test_other_threads_are_forbidden_by_a_global_capture_alone(cards: Libraries, mode: int, code: int) -> None:
    """A capture of the thread's own kind leaves others alone, but they cannot end it."""
    stream = stream_of(cards)
    began(cards, stream, mode)
    with ThreadPoolExecutor(1) as other:
        found, _ = other.submit(cards.allocate, "cudaMalloc", 1).result()
        wrong, _ = other.submit(ended, cards, stream).result()

    assert (code, WRONG_THREAD) == (found, wrong)
    assert (INVALIDATED, 0) == ended(cards, stream)


@pytest.mark.parametrize(("flags", "code"), [(0, IMPLICIT), (NON_BLOCKING, SUCCESS)])
def test_the_default_stream_cannot_wait_for_a_blocking_stream(cards: Libraries, flags: int, code: int) -> None:
    """Work on the default stream would follow a blocking stream's; other streams it knows nothing of."""
    stream = stream_of(cards, flags)
    began(cards, stream)

    assert code == launch(cards, 0)
    assert (INVALIDATED if code else SUCCESS) == ended(cards, stream)[0]


def test_captures_are_apart_from_each_other_and_from_what_was_before(cards: Libraries) -> None:
    """A dependency between two captures, or on work before one, is an error."""
    first, second, event = stream_of(cards), stream_of(cards), event_of(cards)
    cards.call("cudaEventRecord", event, first)
    began(cards, first)
    before = cards.call("cudaStreamWaitEvent", first, event, 0)
    ended(cards, first)
    began(cards, first)
    began(cards, second)
    cards.call("cudaEventRecord", event, first)
    between = cards.call("cudaStreamWaitEvent", second, event, 0)

    assert (ISOLATION, MERGE) == (before, between)
    assert [INVALIDATED, INVALIDATED] == [ended(cards, stream)[0] for stream in (first, second)]


def test_a_capture_begins_and_ends_on_one_stream(cards: Libraries) -> None:
    """It begins once, not on the default stream, and ends where it began; no other stream can be asked for it."""
    origin, side, event = stream_of(cards), stream_of(cards), event_of(cards)

    assert [UNSUPPORTED, INVALID_HANDLE] == [began(cards, 0), began(cards, 12345)]
    assert [SUCCESS, ILLEGAL_STATE] == [began(cards, origin), began(cards, origin)]
    assert (ILLEGAL_STATE, 0) == ended(cards, side)
    cards.call("cudaEventRecord", event, origin)
    cards.call("cudaStreamWaitEvent", side, event, 0)
    assert (UNMATCHED, 0) == ended(cards, side)
    assert (INVALIDATED, 0) == ended(cards, origin)


def test_a_destroyed_stream_spoils_its_capture(cards: Libraries) -> None:
    """The capture of a stream that is gone cannot end, and forbids nothing."""
    stream = stream_of(cards)
    began(cards, stream)

    assert SUCCESS == cards.call("cudaStreamDestroy", stream)
    assert (INVALID_HANDLE, 0) == ended(cards, stream)
    assert SUCCESS == cards.allocate("cudaMalloc", 1)[0]
    assert SUCCESS == cards.call("cudaDeviceSynchronize")


def test_memory_of_a_graph_is_refused_by_name(cards: Libraries) -> None:
    """What would become an allocation or a release inside the graph neither happens at once nor passes unseen."""
    stream, address, outside = stream_of(cards), c_void_p(), c_void_p()
    assert SUCCESS == cards.runtime.cudaMallocAsync(byref(outside), c_size_t(512), c_void_p(stream))
    assert SUCCESS == began(cards, stream)

    codes = (
        cards.runtime.cudaMallocAsync(byref(address), c_size_t(512), c_void_p(stream)),
        cards.runtime.cudaFreeAsync(outside, c_void_p(stream)),
        cards.call_driver("cuMemAllocAsync", ctypes.addressof(address), 512, stream),
        cards.call_driver("cuMemFreeAsync", outside.value or 0, stream),
    )

    assert (801, 801, 801, 801) == codes
    assert [
        "cudaMallocAsync under capture",
        "cudaFreeAsync under capture",
        "cuMemAllocAsync under capture",
        "cuMemFreeAsync under capture",
    ] == cards.refused()
    assert address.value is None
    ended(cards, stream)
    assert SUCCESS == cards.runtime.cudaFreeAsync(outside, c_void_p(stream))
    assert SUCCESS == cards.call("cudaDeviceSynchronize")
