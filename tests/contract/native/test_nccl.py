"""NCCL between emulated cards: communicators, what a collective may say, and the buffers that it takes from the card."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.contract.native.libraries import SUCCESS, Libraries, card_text, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNHANDLED_CUDA_ERROR: Final = 1
INVALID_ARGUMENT: Final = 4
INVALID_USAGE: Final = 5
FLOAT: Final = 7
SUM: Final = 0
MIB: Final = 1 << 20
CHANNEL_BYTES: Final = 12 * MIB
"""A connection that receives, 10 MiB, and one that sends, 2 MiB."""
LARGE_CARD: Final = card_text(total_bytes=4 << 30, nccl_channels=3)


class UniqueId(ctypes.Structure):
    """`ncclUniqueId`."""

    _fields_ = (("bytes", ctypes.c_char * 128),)


class Nccl:
    """The library, with communicators as plain handles."""

    def __init__(self, library: Any, cards: Libraries) -> None:
        """Use `library`; its memory is counted by `cards`."""
        self.library = library
        self.cards = cards
        self.made: list[ctypes.c_void_p] = []

    def join(self, size: int, rank: int) -> tuple[int, ctypes.c_void_p]:
        """Make a communicator; returns the code too."""
        own = ctypes.c_void_p()
        code: int = self.library.ncclCommInitRank(ctypes.byref(own), size, UniqueId(), rank)
        if own.value is not None:
            self.made.append(own)
        return code, own

    def all_reduce(self, own: object, count: int = 8, kind: int = FLOAT, operation: int = SUM, address: int = 1) -> int:
        """All-reduce in place."""
        there = ctypes.c_void_p(address)
        code: int = self.library.ncclAllReduce(there, there, ctypes.c_size_t(count), kind, operation, own, None)
        return code

    def all_gather(self, own: object, count: int) -> int:
        """Gather everything everywhere."""
        there = ctypes.c_void_p(1)
        code: int = self.library.ncclAllGather(there, there, ctypes.c_size_t(count), FLOAT, own, None)
        return code

    def send(self, own: object, peer: int) -> int:
        """Send to a peer."""
        code: int = self.library.ncclSend(ctypes.c_void_p(1), ctypes.c_size_t(1), FLOAT, peer, own, None)
        return code

    def receive(self, own: object, peer: int) -> int:
        """Receive from a peer."""
        code: int = self.library.ncclRecv(ctypes.c_void_p(1), ctypes.c_size_t(1), FLOAT, peer, own, None)
        return code

    @property
    def held_bytes(self) -> int:
        """What the library has taken from the first card."""
        usage = self.cards.usage(0)
        return int(usage.used_bytes) - CONTEXT_BYTES


CONTEXT_BYTES: Final = int(dict(pair.split("=") for pair in card_text().rstrip(";").split(";"))["context_bytes"])


@pytest.fixture
def nccl(cards: Libraries, folder: Path) -> Iterator[Nccl]:
    """Return the library over cards with room and three channels; every communicator is destroyed afterwards."""
    assert cards.place(LARGE_CARD) is None
    own = Nccl(opened(folder, "libnccl.so.2"), cards)
    yield own
    for communicator in own.made:
        own.library.ncclCommDestroy(communicator)
    assert cards.place(card_text()) is None


class TestCommunicators:
    """A communicator has a size and a rank, and is known until it is destroyed."""

    @pytest.mark.parametrize(("size", "rank"), [(0, 0), (-1, 0), (2, 2), (2, -1), (1 << 21, 0)])
    def test_a_rank_is_one_of_its_ranks(self, nccl: Nccl, size: int, rank: int) -> None:
        """No ranks, too many, or a rank that is not among them, are invalid arguments."""
        assert INVALID_ARGUMENT == nccl.join(size, rank)[0]

    def test_it_says_what_it_is(self, nccl: Nccl) -> None:
        """Size, rank and device are those it was made with."""
        _, own = nccl.join(5, 3)
        answers = []
        for question in ("ncclCommCount", "ncclCommUserRank", "ncclCommCuDevice"):
            value = ctypes.c_int(-1)
            assert SUCCESS == getattr(nccl.library, question)(own, ctypes.byref(value))
            answers.append(value.value)

        assert [5, 3, 0] == answers

    def test_a_stale_handle_is_recognised(self, nccl: Nccl) -> None:
        """What was destroyed, and what never was, is an invalid argument."""
        _, own = nccl.join(2, 0)

        assert SUCCESS == nccl.library.ncclCommDestroy(own)
        assert INVALID_ARGUMENT == nccl.library.ncclCommDestroy(own)
        assert INVALID_ARGUMENT == nccl.all_reduce(own)
        assert INVALID_ARGUMENT == nccl.all_reduce(None)

    def test_a_split_has_the_rank_that_its_key_says(self, nccl: Nccl) -> None:
        """A part is a communicator of its own; whoever takes no colour gets none."""
        _, whole = nccl.join(4, 3)
        part, none, rank = ctypes.c_void_p(), ctypes.c_void_p(7), ctypes.c_int()

        assert SUCCESS == nccl.library.ncclCommSplit(whole, 11, 1, ctypes.byref(part), None)
        nccl.made.append(part)
        assert SUCCESS == nccl.library.ncclCommUserRank(part, ctypes.byref(rank))
        assert 1 == rank.value
        assert SUCCESS == nccl.library.ncclCommSplit(whole, -1, 0, ctypes.byref(none), None)
        assert none.value is None

    def test_a_group_that_was_not_begun_cannot_end(self, nccl: Nccl) -> None:
        """Starts and ends pair up."""
        assert [SUCCESS, SUCCESS, INVALID_USAGE] == [
            nccl.library.ncclGroupStart(),
            nccl.library.ncclGroupEnd(),
            nccl.library.ncclGroupEnd(),
        ]


class TestCollectives:
    """A call is checked and counted by kind."""

    @pytest.mark.parametrize(
        "fault", [{"kind": 12}, {"kind": -1}, {"operation": 5}, {"operation": -1}, {"address": 0}, {"count": 2**64 - 1}]
    )
    def test_what_makes_no_sense_is_refused(self, nccl: Nccl, fault: dict[str, int]) -> None:
        """An unknown type or reduction, no buffer, and more elements than memory, are invalid arguments, and not counted."""
        _, own = nccl.join(2, 0)
        before = nccl.cards.counted()

        assert INVALID_ARGUMENT == nccl.all_reduce(own, **fault)
        assert before == nccl.cards.counted()
        assert 0 == nccl.held_bytes

    @pytest.mark.parametrize("root", [-1, 2])
    def test_a_root_is_a_rank(self, nccl: Nccl, root: int) -> None:
        """Nobody broadcasts who is not in the communicator."""
        _, own = nccl.join(2, 0)
        there, count = ctypes.c_void_p(1), ctypes.c_size_t(1)

        assert INVALID_ARGUMENT == nccl.library.ncclBroadcast(there, there, count, FLOAT, root, own, None)
        assert INVALID_ARGUMENT == nccl.send(own, root)

    def test_a_call_is_a_computation(self, nccl: Nccl) -> None:
        """Each call counts once."""
        _, own = nccl.join(2, 0)
        before = nccl.cards.counted()["compute_calls"]
        nccl.all_reduce(own)
        nccl.all_gather(own, 8)

        assert before + 2 == nccl.cards.counted()["compute_calls"]

    def test_a_reduction_of_the_users_own(self, nccl: Nccl) -> None:
        """A reduction that was made may be used, and destroyed."""
        _, own = nccl.join(2, 0)
        operation = ctypes.c_int()

        assert SUCCESS == nccl.library.ncclRedOpCreatePreMulSum(ctypes.byref(operation), None, FLOAT, 0, own)
        assert SUCCESS == nccl.all_reduce(own, operation=operation.value)
        assert SUCCESS == nccl.library.ncclRedOpDestroy(operation, own)
        assert INVALID_ARGUMENT == nccl.library.ncclRedOpDestroy(operation.value + 1, own)


class TestBuffers:
    """Buffers are taken when NCCL would connect, and given back with the communicator."""

    def test_a_ring_for_the_first_collective(self, nccl: Nccl) -> None:
        """A communicator has no buffers until it is used, then one ring on each channel, once."""
        _, own = nccl.join(4, 0)

        assert 0 == nccl.held_bytes
        assert [SUCCESS, SUCCESS] == [nccl.all_gather(own, 8), nccl.all_gather(own, 8)]
        assert 3 * CHANNEL_BYTES == nccl.held_bytes

    @pytest.mark.parametrize(("size", "rings"), [(1, 0), (2, 1), (3, 2), (64, 2)])
    def test_a_tree_for_a_reduction(self, nccl: Nccl, size: int, rings: int) -> None:
        """An all-reduce wants a tree besides the ring; between two ranks they are the same, and one rank needs neither."""
        _, own = nccl.join(size, 0)

        assert SUCCESS == nccl.all_reduce(own)
        assert rings * 3 * CHANNEL_BYTES == nccl.held_bytes

    def test_a_peer_has_a_power_of_two_channels(self, nccl: Nccl) -> None:
        """Three channels make four for a peer: 2 MiB each to send, 10 MiB each to receive."""
        _, own = nccl.join(4, 0)

        assert [SUCCESS, SUCCESS] == [nccl.send(own, 1), nccl.send(own, 1)]
        assert 4 * 2 * MIB == nccl.held_bytes
        assert SUCCESS == nccl.receive(own, 1)
        assert 4 * CHANNEL_BYTES == nccl.held_bytes

    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("NCCL_MAX_NCHANNELS", "2", 2 * CHANNEL_BYTES),
            ("NCCL_BUFFSIZE", "1048576", 3 * (8 + 2) * MIB),
            ("NCCL_P2P_DISABLE", "1", 0),
        ],
    )
    def test_the_environment_is_heard(
        self, nccl: Nccl, monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: int
    ) -> None:
        """The variables that change the buffers of the real library change them here."""
        monkeypatch.setenv(name, value)
        _, own = nccl.join(4, 0)

        assert SUCCESS == nccl.all_gather(own, 8)
        assert expected == nccl.held_bytes

    def test_they_go_with_the_communicator(self, nccl: Nccl) -> None:
        """What a destroyed communicator held is free again, and what was held at most is remembered."""
        _, own = nccl.join(4, 0)
        nccl.all_reduce(own)
        nccl.library.ncclCommAbort(own)
        nccl.cards.core.vg_held_peak.restype = ctypes.c_uint64

        assert 0 == nccl.held_bytes
        assert nccl.cards.core.vg_held_peak(0) >= 2 * 3 * CHANNEL_BYTES

    def test_a_full_card(self, nccl: Nccl) -> None:
        """Without room the call fails as it would by CUDA, and holds nothing."""
        assert nccl.cards.place(card_text(nccl_channels=24)) is None
        _, own = nccl.join(4, 0)

        assert UNHANDLED_CUDA_ERROR == nccl.all_gather(own, 8)
        assert 0 == nccl.held_bytes
        nccl.library.ncclGetLastError.restype = ctypes.c_char_p
        assert b"Cuda failure 2 'out of memory'" == nccl.library.ncclGetLastError(None)


class TestPeers:
    """Cards reach each other where the catalogue says so."""

    @pytest.mark.parametrize(("peer_access", "enabled"), [(0, 217), (1, SUCCESS)])
    def test_access_is_the_targets(self, cards: Libraries, peer_access: int, enabled: int) -> None:
        """A card says whether it reaches another, and never that it reaches itself; what is allowed twice is said to be."""
        assert cards.place(card_text(peer_access=peer_access)) is None
        can = ctypes.c_int()

        assert SUCCESS == cards.runtime.cudaDeviceCanAccessPeer(ctypes.byref(can), 0, 1)
        assert peer_access == can.value
        assert SUCCESS == cards.runtime.cudaDeviceCanAccessPeer(ctypes.byref(can), 1, 1)
        assert 0 == can.value
        assert enabled == cards.runtime.cudaDeviceEnablePeerAccess(1, 0)
        if peer_access:
            assert 704 == cards.runtime.cudaDeviceEnablePeerAccess(1, 0)
            assert SUCCESS == cards.runtime.cudaDeviceDisablePeerAccess(1)
            assert 705 == cards.runtime.cudaDeviceDisablePeerAccess(1)
        assert cards.place(card_text()) is None
