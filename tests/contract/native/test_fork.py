"""A forked child sees its card, with books of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from tests.contract.native.libraries import CONTEXT_BYTES, SUCCESS, Libraries

if TYPE_CHECKING:
    from collections.abc import Callable

# Python 3.12 and later warn of a fork in a process with threads; that it works is what is tested.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


def in_child(claim: Callable[[], bool]) -> bool:
    """Return what `claim` returns in a forked child; False also if the child raises, crashes or hangs."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            os._exit(0 if claim() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


def test_a_child_sees_its_card(cards: Libraries) -> None:
    """The card and what is used of it are the parent's."""
    cards.allocate("cudaMalloc", 1)
    seen = cards.memory_info()

    assert in_child(lambda: seen == cards.memory_info())


def test_a_child_can_use_its_card(cards: Libraries) -> None:
    """A child reads what the parent wrote, and its own allocations and bytes are not the parent's."""
    _, address = cards.allocate("cudaMalloc", 16)
    host = ctypes.create_string_buffer(b"parent", 6)
    cards.call("cudaMemcpy", address, ctypes.addressof(host), 6, 1)
    seen = cards.memory_info()

    def use() -> bool:
        cards.call("cudaMemcpy", ctypes.addressof(host), address, 6, 2)
        read = host.raw
        host.raw = b"child!"
        cards.call("cudaMemcpy", address, ctypes.addressof(host), 6, 1)
        return (
            read == b"parent"
            and SUCCESS == cards.allocate("cudaMalloc", 2**23)[0]
            and SUCCESS == cards.call("cudaFree", address)
        )

    assert in_child(use)
    assert seen == cards.memory_info()
    cards.call("cudaMemcpy", ctypes.addressof(host), address, 6, 2)
    assert b"parent" == host.raw


def test_a_fork_waits_for_other_threads(cards: Libraries) -> None:
    """A child that is forked while threads are at work in the libraries finds no lock taken."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            _, address = cards.allocate("cudaMalloc", 1)
            cards.call("cudaFree", address)
            cards.call("cudaEventDestroy", cards.create("cudaEventCreateWithFlags", 0))
            cards.core.vg_refuse(b"name", 801)

    def use() -> bool:
        code, address = cards.allocate("cudaHostAlloc", 1)
        event = cards.create("cudaEventCreateWithFlags", 0)
        cards.core.vg_refuse(b"child", 801)
        codes = code, cards.call("cudaFreeHost", address), cards.call("cudaEventDestroy", event)
        return codes == (SUCCESS, SUCCESS, SUCCESS) and "child" in cards.refused()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    outcomes = [in_child(use) for _ in range(30)]
    stop.set()
    for thread in threads:
        thread.join()

    assert [True] * 30 == outcomes
    assert CONTEXT_BYTES == cards.usage(0).used_bytes
