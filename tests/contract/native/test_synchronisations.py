"""What counts as a wait of the host for the card, and who is told of it."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import pytest

from tests.contract.native.libraries import INVALID_HANDLE, SUCCESS, Libraries

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def told(cards: Libraries) -> Iterator[list[int]]:
    """Return a list that gets the number of waits counted so far, whenever the core tells of one."""
    counts: list[int] = []

    def note() -> None:
        counts.append(cards.counted()["synchronisations"])

    listener = ctypes.CFUNCTYPE(None)(note)
    cards.core.vg_listen(listener)
    yield counts
    cards.core.vg_listen(None)


def test_each_wait_is_told_once_it_is_counted(cards: Libraries, told: list[int]) -> None:
    """Waiting for card, stream or event, and a copy that waits, are told; asking and copying without waiting are not."""
    before = cards.counted()["synchronisations"]
    event = cards.create("cudaEventCreateWithFlags", 0)
    _, address = cards.allocate("cudaMalloc", 8)
    host = ctypes.create_string_buffer(8)
    codes = [
        cards.call("cudaDeviceSynchronize"),
        cards.call("cudaStreamSynchronize", 0),
        cards.call("cudaEventSynchronize", event),
        cards.call("cudaMemcpy", address, ctypes.addressof(host), 8, 1),
        cards.call("cudaStreamQuery", 0),
        cards.call("cudaMemcpyAsync", address, ctypes.addressof(host), 8, 1, 0),
    ]

    assert [SUCCESS] * 6 == codes
    assert [before + count for count in (1, 2, 3, 4)] == told


def test_a_refused_wait_is_not_told(cards: Libraries, told: list[int]) -> None:
    """Nobody waits for a stream that does not exist."""
    assert INVALID_HANDLE == cards.call("cudaStreamSynchronize", 12345)
    assert [] == told


def test_a_read_that_the_emulation_answers_is_a_wait(cards: Libraries, told: list[int]) -> None:
    """It counts its bytes and a wait, although the card is not asked."""
    before = cards.counted()

    cards.core.vg_note_read(ctypes.c_size_t(3))

    after = cards.counted()
    assert (3, 1) == tuple(after[name] - before[name] for name in ("bytes_to_host", "synchronisations"))
    assert [after["synchronisations"]] == told


def test_nobody_is_told_any_more(cards: Libraries, told: list[int]) -> None:
    """A listener is called until it is taken away."""
    cards.core.vg_listen(None)

    cards.call("cudaDeviceSynchronize")

    assert [] == told
