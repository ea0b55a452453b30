"""A program on the emulated cards: what it has in hand, and how an address, a size or a handle of it is drawn."""

from __future__ import annotations

import ctypes
from collections import Counter
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from tests.contract.native.libraries import (
    CONTEXT_BYTES,
    INVALID_HANDLE,
    INVALID_VALUE,
    SUCCESS,
    TOTAL_BYTES,
    Libraries,
    card_text,
)
from tests.contract.native.plain_card import PlainCard
from tests.contract.native.plain_ledger import DEVICE, GRANULE_BYTES, POOLED, RANGE, REAL_BYTES, Region, whole_granules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hypothesis.strategies import DataObject

POOL_BYTES: Final = 4 << 20

sizes = st.one_of(
    st.sampled_from([0, 1, REAL_BYTES - 1, REAL_BYTES, REAL_BYTES + 1, GRANULE_BYTES - 1, GRANULE_BYTES, GRANULE_BYTES + 1]),
    st.integers(1, 4096),
    st.integers(1, 12 << 20),
)


class Program(RuleBasedStateMachine):
    """Two cards, the plain ledger beside them, and the memory, streams and events that were made so far."""

    cards: Libraries
    """Set by the test."""

    @initialize()
    def start(self) -> None:
        """Place fresh cards and find where device addresses begin."""
        assert self.cards.place(card_text()) is None
        arenas: list[int] = []
        for device in (1, 0):
            self.cards.call("cudaSetDevice", device)
            code, address = self.cards.allocate("cudaMalloc", 1)
            assert (SUCCESS, SUCCESS) == (code, self.cards.call("cudaFree", address))
            arenas.insert(0, address)
        self.host = ctypes.create_string_buffer(POOL_BYTES)
        pool = Region(kind="pool", device=-1, base=ctypes.addressof(self.host), contents=memoryview(bytearray(POOL_BYTES)))
        self.ledger = PlainCard(total_bytes=TOTAL_BYTES, context_bytes=CONTEXT_BYTES, arenas=tuple(arenas), pool=pool)
        self.ledger.find_arenas(self.cards)
        self.scratch = ctypes.create_string_buffer(REAL_BYTES)
        self.known = [pool.base]
        self.streams: dict[int, tuple[int, int]] = {}
        self.events: dict[int, int | None] = {}
        self.handles: list[int] = []
        self.memory_handles: list[int] = []
        self.cards.core.vg_reset_peak()
        self.ledger.reset_peaks()
        self.cards.call("cudaGetLastError")
        self.before = Counter(self.cards.counted())

    def settle(self, expected: int, code: int) -> None:
        """Compare a code with the ledger's; the runtime remembers a failure once."""
        assert expected == code
        assert expected == self.cards.call("cudaGetLastError")
        assert SUCCESS == self.cards.call("cudaGetLastError")

    def do_one_of(self, data: DataObject, *actions: Callable[[DataObject], None]) -> None:
        """Draw an action and do it. Few rules with many actions mix better than many rules, of which a run leaves most out."""
        actions[data.draw(st.integers(0, len(actions) - 1), label=", ".join(action.__name__ for action in actions))](data)

    def an_address(self, data: DataObject, *kinds: str) -> int:
        """Draw an address that was handed out: of a live region of `kinds`, if there is one, as often as of anything else."""
        live = [region.base for region in self.ledger.regions.values() if region.kind in kinds]
        return data.draw(st.sampled_from(live or self.known) | st.sampled_from(self.known), label="address")

    def a_place(self, data: DataObject) -> int:
        """Draw an address that may be copied from or to: good, past an end, freed on the card, or null."""
        bases = [self.ledger.pool.base, *self.ledger.regions, *self.freed_on_card()]
        base = data.draw(st.sampled_from(bases), label="base")
        found = self.ledger.regions.get(base) or self.ledger.pool
        near = st.sampled_from([0, 1, GRANULE_BYTES - 1, GRANULE_BYTES]) | st.integers(0, found.size_bytes)
        offset = min(data.draw(near, label="offset"), found.size_bytes - 1)
        return data.draw(st.sampled_from([base + offset] * 9 + [0]), label="address")

    def freed_on_card(self) -> list[int]:
        """Return device addresses that are in no region now."""
        ends = [arena + whole_granules(self.ledger.total_bytes) * 2 for arena in self.ledger.arenas]
        return [address for address in (*self.known, *ends) if self.in_arena(address) and self.ledger.find(address) is None]

    def in_arena(self, address: int) -> bool:
        """Return whether an address can only be device memory."""
        starts = (*self.ledger.arenas, self.ledger.ranges_base, *self.ledger.pool_bases())
        return any(start <= address < start + 3 * whole_granules(self.ledger.total_bytes) for start in starts)

    def room(self, address: int) -> int:
        """Return the bytes from `address` to the end of its region."""
        found = self.ledger.find(address) or self.ledger.pool
        return max(0, found.end - address)

    def may_leave(self, address: int) -> bool:
        """Return whether a range from `address` may run out of its region, which is to be refused.

        It may not out of the pool, for what no region holds is plain host memory to the libraries.
        """
        return not address or self.ledger.find(address) is not None or self.in_arena(address)

    def a_size(self, data: DataObject, *addresses: int) -> int:
        """Draw a size that mostly fits at all `addresses`."""
        room = min(map(self.room, addresses))
        size_bytes = data.draw(sizes | st.just(room), label="size")
        may_leave = all(map(self.may_leave, addresses))
        return size_bytes if may_leave and data.draw(st.integers(0, 4), label="too long if 4") == 4 else min(size_bytes, room)

    def a_copy(self, data: DataObject) -> tuple[int, int, int]:
        """Draw two places and a size."""
        to, from_ = self.a_place(data), self.a_place(data)
        return to, from_, self.a_size(data, to, from_)

    def a_handle(self, data: DataObject, live: Iterable[int]) -> int:
        """Draw a handle: a live one as often as one of the other sort, of a default stream, or none at all."""
        others = [*self.handles, 0, 1, 2, 12345]
        return data.draw(st.sampled_from(list(live) or others) | st.sampled_from(others), label="handle")

    def scribble(self, data: DataObject) -> None:
        """Write known bytes into the pool, on both sides."""
        length = data.draw(st.sampled_from([16, 4096, REAL_BYTES, POOL_BYTES]), label="length")
        block = bytes([data.draw(st.integers(1, 255), label="byte")]) * length
        ctypes.memmove(self.host, block, length)
        self.ledger.pool.contents[:length] = block

    def note(self, kind: str, address: int, size_bytes: int) -> None:
        """Enter what was handed out, if anything."""
        if address:
            self.ledger.add(kind, address, size_bytes)
            self.known.append(address)

    def forget(self, address: int) -> None:
        """Draw an address of host memory no more once it is freed, for whether it comes back is not the same in every run."""
        lasting = (
            self.in_arena(address) or address in self.ledger.regions or self.ledger.pool.base <= address < self.ledger.pool.end
        )
        if not lasting and address in self.known:
            self.known = [known for known in self.known if known != address]
            assert INVALID_VALUE == self.cards.call("cudaFree", address) == self.cards.call("cudaFreeHost", address)
            self.cards.call("cudaGetLastError")

    def drop(self, handle: int, code: int) -> None:
        """Draw a destroyed handle no more, for whether it comes back is not the same in every run."""
        if code == SUCCESS:
            self.handles.remove(handle)
            for function in ("cudaStreamDestroy", "cudaEventDestroy"):
                self.settle(INVALID_HANDLE, self.cards.call(function, handle))

    def compare(self, found: Region, offset: int, size_bytes: int) -> None:
        """Read a stretch of a region, by a copy if it is device memory, and compare it with the ledger's."""
        at, scratch = found.base + offset, ctypes.addressof(self.scratch)
        if found.kind in {DEVICE, POOLED, RANGE}:
            assert SUCCESS == self.cards.call("cudaMemcpyAsync", scratch, at, size_bytes, 2, 0)
            self.ledger.counts["bytes_to_host"] += size_bytes
        read = ctypes.string_at(scratch if found.kind in {DEVICE, POOLED, RANGE} else at, size_bytes)
        same = found.contents[offset : offset + size_bytes].tobytes() == read
        assert same, f"{found.kind} memory differs in [{offset}, {offset + size_bytes})"
