"""The emulated cards against a plain ledger: whatever is done to both, in any order, they agree.

The number of operations is `VRAMGUARD_TEST_OPERATIONS`; `make sanitize` runs 10,000 or more.
"""

from __future__ import annotations

import ctypes
import os
from collections import Counter
from typing import TYPE_CHECKING, Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from tests.contract.native.driver_memory import DriverMemory
from tests.contract.native.libraries import (
    CONTEXT_BYTES,
    INVALID_DEVICE,
    INVALID_HANDLE,
    INVALID_PITCH,
    INVALID_VALUE,
    SUCCESS,
    TOTAL_BYTES,
    Libraries,
)
from tests.contract.native.plain_ledger import (
    DEVICE,
    GRANULE_BYTES,
    MANAGED,
    PINNED,
    POOLED,
    RANGE,
    REAL_BYTES,
    REGISTERED,
    Rows,
)
from tests.contract.native.program import POOL_BYTES, sizes

if TYPE_CHECKING:
    from hypothesis.strategies import DataObject

OPERATIONS: Final = int(os.environ.get("VRAMGUARD_TEST_OPERATIONS", "1000"))
STEPS: Final = 50
POOL_STEP_BYTES: Final = POOL_BYTES // 10
TYPES: Final = {DEVICE: 2, POOLED: 2, MANAGED: 3, PINNED: 1, REGISTERED: 1}
"""`cudaMemoryType` of each kind."""
UNREGISTERED: Final[tuple[int, int, int | None, int | None]] = (0, -2, None, None)
"""What `cudaPointerGetAttributes` answers about memory that it does not know."""
SETTINGS: Final = settings(
    max_examples=OPERATIONS * 3 // 2 // STEPS,  # some runs are cut short
    stateful_step_count=STEPS,
    derandomize="VRAMGUARD_TEST_OPERATIONS" not in os.environ,
    database=None,
    deadline=None,
    print_blob=True,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)

allocation_sizes = sizes | st.sampled_from([40 << 20, TOTAL_BYTES, 2**63, 2**64 - 1])
managed_sizes = sizes | st.integers(20 << 20, 60 << 20)


class Cards(DriverMemory):
    """Everything that a program does to memory, streams and events."""

    operations = 0
    """Over all runs."""

    # Memory

    @rule(data=st.data())
    def acquire(self, data: DataObject) -> None:
        """Get memory of any kind."""
        self.do_one_of(data, self.allocate, self.allocate_by_driver, self.allocate_managed, self.allocate_pinned, self.register)

    @rule(data=st.data())
    def give_back(self, data: DataObject) -> None:
        """Give memory back, rightly or wrongly."""
        self.do_one_of(data, self.free, self.free_by_driver, self.free_pinned, self.unregister)

    def allocate(self, data: DataObject) -> None:
        """Device memory: the lowest address with room, or out of memory exactly when the books say so."""
        size_bytes = data.draw(allocation_sizes, label="size")
        expected, expected_address = self.ledger.expected_allocation(size_bytes)
        code, address = self.cards.allocate("cudaMalloc", size_bytes)
        self.settle(expected, code)
        assert expected_address == address
        self.note(DEVICE, address, size_bytes)

    def allocate_by_driver(self, data: DataObject) -> None:
        """The same through the driver, which has no regions of size 0."""
        size_bytes = data.draw(allocation_sizes, label="size")
        expected = self.ledger.expected_allocation(size_bytes) if size_bytes else (INVALID_VALUE, 0)
        code, address = self.cards.allocate_by_driver(size_bytes)
        assert expected == (code, address)
        self.note(DEVICE, address, size_bytes)

    def allocate_managed(self, data: DataObject) -> None:
        """Managed memory: never fails for want of room on the card."""
        size_bytes = data.draw(managed_sizes, label="size")
        code, address = self.cards.allocate("cudaMallocManaged", size_bytes)
        self.settle(SUCCESS if size_bytes else INVALID_VALUE, code)
        self.note(MANAGED, address, size_bytes)

    def allocate_pinned(self, data: DataObject) -> None:
        """Pinned memory: not the card's."""
        size_bytes = data.draw(sizes, label="size")
        code, address = self.cards.allocate("cudaHostAlloc", size_bytes)
        self.settle(SUCCESS, code)
        self.note(PINNED, address, size_bytes)

    def register(self, data: DataObject) -> None:
        """Parts of the pool, which may overlap what is registered already."""
        address = self.ledger.pool.base + data.draw(st.integers(0, 7), label="begin") * POOL_STEP_BYTES
        size_bytes = data.draw(st.sampled_from([0, 1, POOL_STEP_BYTES, POOL_STEP_BYTES + 1, 3 * POOL_STEP_BYTES]), label="size")
        self.settle(self.ledger.register(address, size_bytes), self.cards.call("cudaHostRegister", address, size_bytes, 0))
        self.known.append(address)

    def free(self, data: DataObject) -> None:
        """Anything ever handed out: live or freed, of any kind, its base or an address inside."""
        address = self.an_address(data, DEVICE, MANAGED) + data.draw(st.sampled_from([0] * 8 + [1, 4096]), label="offset")
        self.settle(self.ledger.free(address, DEVICE, POOLED, MANAGED), self.cards.call("cudaFree", address))
        self.forget(address)

    def free_by_driver(self, data: DataObject) -> None:
        """The same through the driver."""
        address = self.an_address(data, DEVICE, MANAGED)
        assert self.ledger.free(address, DEVICE, POOLED, MANAGED) == self.cards.call_driver("cuMemFree_v2", address)
        self.forget(address)

    def free_pinned(self, data: DataObject) -> None:
        """The same for pinned memory."""
        address = self.an_address(data, PINNED)
        self.settle(self.ledger.free(address, PINNED), self.cards.call("cudaFreeHost", address))
        self.forget(address)

    def unregister(self, data: DataObject) -> None:
        """The same for registered memory."""
        address = self.an_address(data, REGISTERED)
        self.settle(self.ledger.unregister(address), self.cards.call("cudaHostUnregister", address))

    # Contents

    @rule(data=st.data())
    def move_bytes(self, data: DataObject) -> None:
        """Copy, fill or read."""
        if data.draw(st.booleans(), label="new bytes"):
            self.scribble(data)
        self.do_one_of(
            data, self.copy, self.copy, self.copy_by_driver, self.copy_rows, self.fill_bytes, self.fill_words, self.read
        )

    def copy(self, data: DataObject) -> None:
        """Copies between any two places, whatever direction the caller claims."""
        to, from_, size_bytes = self.a_copy(data)
        kind = data.draw(st.integers(0, 4), label="kind")
        expected = self.ledger.copy(to, from_, size_bytes)
        self.settle(expected, self.cards.call("cudaMemcpyAsync", to, from_, size_bytes, kind, 0))

    def copy_by_driver(self, data: DataObject) -> None:
        """The same through the driver."""
        to, from_, size_bytes = self.a_copy(data)
        expected = self.ledger.copy(to, from_, size_bytes)
        assert expected == self.cards.call_driver("cuMemcpyHtoDAsync_v2", to, from_, size_bytes, 0)

    def copy_rows(self, data: DataObject) -> None:
        """Rows: large if they are so together, and refused if they would overlap or run out of a region."""
        to, from_ = self.a_place(data), self.a_place(data)
        width = data.draw(st.sampled_from([0, 1, 5, 1000, REAL_BYTES // 4 + 1]), label="width")
        count = data.draw(st.integers(0, 9), label="rows")
        to_pitch, from_pitch = (max(0, width + data.draw(st.integers(-1, 99), label="gap")) for _ in range(2))
        if not (self.may_leave(to) and self.may_leave(from_)):
            count, width = min(count, 1), min(width, self.room(to), self.room(from_))
        rows = Rows(to_pitch=to_pitch, from_pitch=from_pitch, width=width, count=count)
        expected = INVALID_PITCH if width > min(to_pitch, from_pitch) else self.ledger.copy_rows(to, from_, rows)
        self.settle(expected, self.cards.call("cudaMemcpy2DAsync", to, to_pitch, from_, from_pitch, width, count, 4, 0))

    def fill_bytes(self, data: DataObject) -> None:
        """Fills with a byte."""
        to, value = self.a_place(data), data.draw(st.integers(0, 255), label="byte")
        size_bytes = self.a_size(data, to)
        expected = self.ledger.fill(to, bytes([value]), size_bytes)
        self.settle(expected, self.cards.call("cudaMemsetAsync", to, value, size_bytes, 0))

    def fill_words(self, data: DataObject) -> None:
        """Fills with a word of four bytes."""
        to, value = self.a_place(data), data.draw(st.integers(0, 2**32 - 1), label="word")
        count = self.a_size(data, to) // 4
        expected = self.ledger.fill(to, value.to_bytes(4, "little"), count)
        assert expected == self.cards.call_driver("cuMemsetD32Async", to, value, count, 0)

    def read(self, data: DataObject) -> None:
        """Bytes come back as they were written; what was never written, or was large, is zero."""
        regions = [region for region in self.ledger.regions.values() if region.kind != RANGE]
        found = data.draw(st.sampled_from([self.ledger.pool, *regions]), label="region")
        offset = data.draw(st.integers(0, found.size_bytes - 1), label="offset")
        self.compare(
            found, offset, min(found.size_bytes - offset, data.draw(st.sampled_from([1, 4096, REAL_BYTES]), label="size"))
        )

    # Streams, events and launches

    @rule(data=st.data())
    def use_streams(self, data: DataObject) -> None:
        """Do something with a stream."""
        self.do_one_of(data, self.create_stream, self.ask_about_a_stream, self.destroy_stream)

    @rule(data=st.data())
    def use_events(self, data: DataObject) -> None:
        """Do something with an event, or move the clock."""
        self.do_one_of(
            data, self.create_event, self.record_event, self.record_event, self.launch, self.measure, self.destroy_event
        )

    def create_stream(self, data: DataObject) -> None:
        """Streams keep what they were made with."""
        flags, priority = data.draw(st.sampled_from([0, 1]), label="flags"), data.draw(st.integers(-5, 0), label="priority")
        handle = self.cards.create("cudaStreamCreateWithPriority", flags, priority)
        assert handle not in self.streams
        self.streams[handle] = flags, priority
        self.handles.append(handle)

    def ask_about_a_stream(self, data: DataObject) -> None:
        """Only live streams and the default ones answer."""
        handle = self.a_handle(data, self.streams)
        expected = SUCCESS if handle in self.streams or handle <= 2 else INVALID_HANDLE
        flags, priority = ctypes.c_uint(), ctypes.c_int()
        self.settle(expected, self.cards.call("cudaStreamQuery", handle))
        self.settle(expected, self.cards.call("cudaStreamGetFlags", handle, ctypes.addressof(flags)))
        self.settle(expected, self.cards.call("cudaStreamGetPriority", handle, ctypes.addressof(priority)))
        assert self.streams.get(handle, (0, 0)) == (flags.value, priority.value)

    def destroy_stream(self, data: DataObject) -> None:
        """A stream is destroyed once."""
        handle = self.a_handle(data, self.streams)
        expected = INVALID_HANDLE if self.streams.pop(handle, None) is None else SUCCESS
        self.settle(expected, self.cards.call("cudaStreamDestroy", handle))
        self.drop(handle, expected)

    def create_event(self, _: DataObject) -> None:
        """Events start without a time."""
        handle = self.cards.create("cudaEventCreateWithFlags", 0)
        assert handle not in self.events
        self.events[handle] = None
        self.handles.append(handle)

    def record_event(self, data: DataObject) -> None:
        """A live event on a live stream takes the time of the launch clock."""
        if not self.events:
            self.create_event(data)
        event, stream = self.a_handle(data, self.events), self.a_handle(data, [*self.streams, 0])
        good = event in self.events and (stream in self.streams or stream <= 2)
        if good:
            self.events[event] = self.ledger.counts["launches"]
        self.settle(SUCCESS if good else INVALID_HANDLE, self.cards.call("cudaEventRecord", event, stream))

    def launch(self, data: DataObject) -> None:
        """Launches are counted, and move the clock."""
        count = data.draw(st.integers(1, 5), label="count")
        for _ in range(count):
            self.settle(SUCCESS, self.cards.launch())
        self.ledger.counts["launches"] += count

    def measure(self, data: DataObject) -> None:
        """Between two recorded events lie 10 ms for each launch, negative if they were recorded in the other order."""
        recorded = [event for event, time in self.events.items() if time is not None]
        start, end = self.a_handle(data, recorded), self.a_handle(data, recorded)
        times = self.events.get(start), self.events.get(end)
        code, milliseconds = self.cards.elapsed_milliseconds(start, end)
        if times[0] is None or times[1] is None:
            self.settle(INVALID_HANDLE, code)
        else:
            self.settle(SUCCESS, code)
            assert times[1] - times[0] == round(milliseconds / 10)

    def destroy_event(self, data: DataObject) -> None:
        """An event is destroyed once."""
        handle = self.a_handle(data, self.events)
        expected = SUCCESS if handle in self.events else INVALID_HANDLE
        self.events.pop(handle, None)
        self.settle(expected, self.cards.call("cudaEventDestroy", handle))
        self.drop(handle, expected)

    # The rest

    @rule(data=st.data())
    def look_around(self, data: DataObject) -> None:
        """Do what changes no memory."""
        self.do_one_of(data, self.ask_about_a_pointer, self.change_device, self.reset_peak, self.synchronise)

    def ask_about_a_pointer(self, data: DataObject) -> None:
        """Attributes of any address: live, freed, inside a region, past its end."""
        offset = data.draw(st.sampled_from([0, 1, GRANULE_BYTES - 1, GRANULE_BYTES]), label="offset")
        address = self.an_address(data, *TYPES) + offset
        found = self.ledger.find(address)
        expected = UNREGISTERED
        if found is not None and found.kind == RANGE:
            memory = self.ledger.mapped_at(address)
            expected = (TYPES[DEVICE], memory.device, address, None) if memory is not None else UNREGISTERED
        elif found is not None:
            on_card = found.kind in {DEVICE, POOLED}
            expected = TYPES[found.kind], found.device, address, None if on_card else address
        assert expected == self.cards.attributes(address)

    def change_device(self, data: DataObject) -> None:
        """There are two."""
        device = data.draw(st.integers(-1, 2), label="device")
        self.settle(SUCCESS if device in (0, 1) else INVALID_DEVICE, self.cards.runtime.cudaSetDevice(device))
        self.ledger.device = device if device in (0, 1) else self.ledger.device

    def reset_peak(self, _: DataObject) -> None:
        """Peaks start anew from what is used."""
        self.cards.core.vg_reset_peak()
        self.ledger.reset_peaks()

    def synchronise(self, _: DataObject) -> None:
        """Synchronisations are counted."""
        self.settle(SUCCESS, self.cards.call("cudaDeviceSynchronize"))
        self.ledger.synchronise()

    # What always holds

    @invariant()
    def books_agree(self) -> None:
        """Runtime, driver, NVML and core name the ledger's numbers, for every card."""
        type(self).operations += 1
        total_bytes, device = self.ledger.total_bytes, self.ledger.device
        assert (SUCCESS, self.ledger.free_bytes(device), total_bytes) == self.cards.memory_info()
        for index in (0, 1):
            free_bytes = self.ledger.free_bytes(index)
            assert (total_bytes, free_bytes, total_bytes - free_bytes) == self.cards.monitored(index)
            usage = self.cards.usage(index)
            assert self.ledger.used_bytes(index) == usage.used_bytes
            assert self.ledger.resident_bytes(index) == usage.managed_bytes
            assert self.ledger.peaks[index] == usage.peak_bytes

    @invariant()
    def counters_agree(self) -> None:
        """Every counter has grown by what was done."""
        assert self.ledger.counts == Counter(self.cards.counted()) - self.before

    def teardown(self) -> None:
        """Compare every byte, then give everything back."""
        self.give_back_driver_memory()
        for found in list(self.ledger.regions.values()):
            for offset in range(0, found.size_bytes, REAL_BYTES):
                self.compare(found, offset, min(REAL_BYTES, found.size_bytes - offset))
            function = {PINNED: "cudaFreeHost", REGISTERED: "cudaHostUnregister"}.get(found.kind, "cudaFree")
            assert SUCCESS == self.cards.call(function, found.base)
        for function, handles in (("cudaStreamDestroy", self.streams), ("cudaEventDestroy", self.events)):
            assert all(self.cards.call(function, handle) == SUCCESS for handle in handles)
        self.destroy_pools()
        assert CONTEXT_BYTES == self.cards.usage(0).used_bytes == self.cards.usage(1).used_bytes


def test_the_cards_agree_with_a_plain_ledger(cards: Libraries) -> None:
    """In any order of operations the emulated cards and a ledger of a few lines of Python say the same."""
    Cards.cards = cards

    run_state_machine_as_test(Cards, settings=SETTINGS)

    assert OPERATIONS <= Cards.operations
