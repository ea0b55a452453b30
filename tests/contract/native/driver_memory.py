"""What a program does with virtual memory and memory pools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from tests.contract.native.libraries import INVALID_VALUE, OUT_OF_MEMORY, SUCCESS
from tests.contract.native.plain_card import AddressRange, Memory, Pool
from tests.contract.native.plain_ledger import GRANULE_BYTES, POOLED, RANGE
from tests.contract.native.program import Program, sizes

if TYPE_CHECKING:
    from hypothesis.strategies import DataObject

granules = st.integers(1, 4).map(lambda count: count * GRANULE_BYTES)
odd_sizes = st.sampled_from([0, 1, GRANULE_BYTES + 1, 2**63])
pool_sizes = sizes | st.sampled_from([512, 513, 40 << 20, 2**63])
THRESHOLD, RESERVED, RESERVED_HIGH, USED, USED_HIGH = 4, 5, 6, 7, 8
MOST_POOLS: Final = 4


class DriverMemory(Program):
    """Rules about virtual memory and pools."""

    # Virtual memory

    @rule(data=st.data())
    def use_addresses(self, data: DataObject) -> None:
        """Do something with ranges and what is mapped into them."""
        self.do_one_of(
            data,
            self.reserve,
            self.make_ready,
            self.make_ready,
            self.create_memory,
            self.map_memory,
            self.map_memory,
            self.set_access,
            self.set_access,
            self.unmap,
            self.release_memory,
            self.unreserve,
        )

    def reserve(self, data: DataObject) -> None:
        """The lowest address with room."""
        size_bytes = data.draw(granules | odd_sizes, label="size")
        code, address = self.cards.reserve(size_bytes)
        if size_bytes % GRANULE_BYTES or not size_bytes:
            assert INVALID_VALUE == code
        elif size_bytes == 2**63:
            assert OUT_OF_MEMORY == code
        else:
            assert (SUCCESS, self.ledger.expected_range(size_bytes)) == (code, address)
            self.ledger.add_range(address, size_bytes)
            self.known.append(address)

    def create_memory(self, data: DataObject) -> None:
        """Physical memory: as much as the card has."""
        size_bytes, device = data.draw(granules | odd_sizes, label="size"), data.draw(st.integers(0, 1), label="device")
        code, handle = self.cards.create_memory(device, size_bytes)
        if size_bytes % GRANULE_BYTES or not size_bytes:
            assert INVALID_VALUE == code
        elif not self.ledger.make_room(device, size_bytes):
            assert OUT_OF_MEMORY == code
        else:
            assert SUCCESS == code
            assert handle not in self.ledger.memories
            self.ledger.memories[handle] = Memory(device=device, size_bytes=size_bytes)
            self.ledger.counts["driver_allocations"] += 1
            self.ledger.note_peak(device)
            self.memory_handles.append(handle)

    def make_ready(self, data: DataObject) -> None:
        """Reserve, create, map, give access and write, as an allocator does."""
        size_bytes = data.draw(granules, label="size")
        code, handle = self.cards.create_memory(0, size_bytes)
        if not self.ledger.make_room(0, size_bytes):
            assert OUT_OF_MEMORY == code
            return
        self.ledger.memories[handle] = Memory(device=0, size_bytes=size_bytes)
        self.ledger.counts["driver_allocations"] += 1
        self.ledger.note_peak(0)
        self.memory_handles.append(handle)
        code, address = self.cards.reserve(size_bytes + GRANULE_BYTES)
        assert SUCCESS == code
        self.ledger.add_range(address, size_bytes + GRANULE_BYTES)
        self.known.append(address)
        assert self.ledger.map(address, size_bytes, handle) == self.cards.call_driver(
            "cuMemMap", address, size_bytes, 0, handle, 0
        )
        assert self.ledger.set_access(address, size_bytes, 3) == self.cards.set_access(address, size_bytes, 3)
        self.mark(data, address, size_bytes)

    def mark(self, data: DataObject, address: int, size_bytes: int) -> None:
        """Write to the end of fresh memory, so that whoever gets it next must find it empty."""
        value, length = data.draw(st.integers(1, 255), label="mark"), min(size_bytes, 3000)
        self.settle(
            self.ledger.fill(address + size_bytes - length, bytes([value]), length),
            self.cards.call("cudaMemsetAsync", address + size_bytes - length, value, length, 0),
        )

    def a_memory(self, data: DataObject) -> int:
        """Draw a handle that was given out once, or never."""
        live, all_of_them = list(self.ledger.memories), [*self.memory_handles, 0, 12345]
        return data.draw(st.sampled_from(live or all_of_them) | st.sampled_from(all_of_them), label="handle")

    def a_stretch(self, data: DataObject) -> tuple[int, int]:
        """Draw an address, mostly of a range, and a size."""
        address = self.an_address(data, RANGE) + data.draw(st.sampled_from([0, 0, 1, 2]), label="granule") * GRANULE_BYTES
        return address + data.draw(st.sampled_from([0] * 9 + [1]), label="offset"), data.draw(granules, label="size")

    def a_mapping(self, data: DataObject) -> tuple[int, int]:
        """Draw a whole mapping as often as any stretch."""
        mappings = []
        for region in self.ledger.of_kind(RANGE):
            assert isinstance(region, AddressRange)
            for memory in {id(memory): memory for memory in region.memories if memory is not None}.values():
                found = [index for index, other in enumerate(region.memories) if other is memory]
                mappings.append((region.base + found[0] * GRANULE_BYTES, len(found) * GRANULE_BYTES))
        if mappings and data.draw(st.integers(0, 3), label="any stretch if 3") < 3:
            return data.draw(st.sampled_from(mappings), label="mapping")
        return self.a_stretch(data)

    def map_memory(self, data: DataObject) -> None:
        """Memory is mapped at one place, where nothing else is."""
        address, size_bytes = self.a_stretch(data)
        handle = self.a_memory(data)
        memory = self.ledger.memories.get(handle)
        if memory is not None and data.draw(st.booleans(), label="all of it"):
            size_bytes = memory.size_bytes
        expected = self.ledger.map(address, size_bytes, handle)
        assert expected == self.cards.call_driver("cuMemMap", address, size_bytes, 0, handle, 0)

    def unmap(self, data: DataObject) -> None:
        """Whole mappings are unmapped, and their bytes are lost."""
        address, size_bytes = self.a_mapping(data)
        handle = next(
            (handle for handle, memory in self.ledger.memories.items() if memory is self.ledger.mapped_at(address)), 0
        )
        assert self.ledger.unmap(address, size_bytes) == self.cards.call_driver("cuMemUnmap", address, size_bytes)
        if data.draw(st.booleans(), label="and map again"):
            expected = self.ledger.map(address, size_bytes, handle)
            assert expected == self.cards.call_driver("cuMemMap", address, size_bytes, 0, handle, 0)
            assert self.ledger.set_access(address, size_bytes, 3) == self.cards.set_access(address, size_bytes, 3)

    def set_access(self, data: DataObject) -> None:
        """Whole mappings may be read, written or neither."""
        address, size_bytes = self.a_mapping(data)
        flags = data.draw(st.sampled_from([3, 3, 3, 1, 0]), label="flags")
        assert self.ledger.set_access(address, size_bytes, flags) == self.cards.set_access(address, size_bytes, flags)

    def release_memory(self, data: DataObject) -> None:
        """Memory goes back to the card when it has neither handle nor mapping."""
        handle = self.a_memory(data)
        assert self.ledger.release(handle) == self.cards.call_driver("cuMemRelease", handle)

    def unreserve(self, data: DataObject) -> None:
        """Ranges are freed as they were reserved."""
        address, size_bytes = self.an_address(data, RANGE), data.draw(granules, label="size")
        found = self.ledger.regions.get(address)
        if found is not None and data.draw(st.booleans(), label="all of it"):
            size_bytes = found.size_bytes
        assert self.ledger.unreserve(address, size_bytes) == self.cards.call_driver("cuMemAddressFree", address, size_bytes)

    # Pools

    @rule(data=st.data())
    def use_pools(self, data: DataObject) -> None:
        """Do something with pools and their memory."""
        self.do_one_of(
            data,
            self.allocate_from_pool,
            self.allocate_from_pool,
            self.allocate_from_pool,
            self.free_in_order,
            self.free_in_order,
            self.trim,
            self.set_threshold,
            self.reset_high,
            self.create_pool,
            self.copy_and_wait,
        )

    def a_pool(self, data: DataObject) -> Pool:
        """Draw a live pool."""
        return data.draw(st.sampled_from(self.ledger.pools), label="pool")

    def allocate_from_pool(self, data: DataObject) -> None:
        """The lowest address with room in the pool, which holds every granule that is touched."""
        pool, size_bytes = self.a_pool(data), data.draw(pool_sizes, label="size")
        expected, expected_address = self.ledger.allocate_from(pool, size_bytes)
        code, address = self.cards.allocate_from(pool.handle, size_bytes)
        self.settle(expected, code)
        assert expected_address in (None, address)
        if address:
            self.ledger.add_to(pool, address, size_bytes)
            self.known.append(address)
            self.mark(data, address, size_bytes)

    def free_in_order(self, data: DataObject) -> None:
        """Memory of a pool, and any other device memory."""
        address = self.an_address(data, POOLED)
        self.settle(self.ledger.free(address, "device", POOLED, "managed"), self.cards.call("cudaFreeAsync", address, 0))
        self.forget(address)

    def trim(self, data: DataObject) -> None:
        """What is not touched goes back, down to a number."""
        pool, kept = self.a_pool(data), data.draw(sizes, label="kept")
        self.ledger.shrink(pool, kept)
        self.settle(SUCCESS, self.cards.call("cudaMemPoolTrimTo", pool.handle, kept))

    def set_threshold(self, data: DataObject) -> None:
        """What a synchronisation leaves."""
        pool, pool_bytes = self.a_pool(data), data.draw(st.sampled_from([0, 5 << 20, 2**64 - 1]), label="threshold")
        pool.threshold_bytes = pool_bytes
        self.settle(SUCCESS, self.cards.set_pool_attribute(pool.handle, THRESHOLD, pool_bytes))

    def reset_high(self, data: DataObject) -> None:
        """High-water marks start anew, and cannot be set to anything else."""
        pool = self.a_pool(data)
        pool.reserved_high_bytes, pool.used_high_bytes = pool.reserved_bytes, self.ledger.used_in(pool)
        for attribute in (RESERVED_HIGH, USED_HIGH):
            self.settle(SUCCESS, self.cards.set_pool_attribute(pool.handle, attribute, 0))
            self.settle(INVALID_VALUE, self.cards.set_pool_attribute(pool.handle, attribute, 1))

    def create_pool(self, data: DataObject) -> None:
        """A pool of one's own."""
        if len(self.ledger.pools) < MOST_POOLS:
            device = data.draw(st.integers(0, 1), label="device")
            self.ledger.pools.append(Pool(handle=self.cards.create_pool(device), device=device))

    def copy_and_wait(self, data: DataObject) -> None:
        """A synchronous copy is a synchronisation, at which pools give back memory."""
        to, from_, size_bytes = self.a_copy(data)
        self.ledger.synchronise()
        expected = self.ledger.copy(to, from_, size_bytes)
        self.settle(expected, self.cards.call("cudaMemcpy", to, from_, size_bytes, 4))

    @invariant()
    def pools_agree(self) -> None:
        """Each pool tells the ledger's numbers."""
        for pool in self.ledger.pools:
            used = self.ledger.used_in(pool)
            expected = pool.reserved_bytes, pool.reserved_high_bytes, used, pool.used_high_bytes
            attributes = RESERVED, RESERVED_HIGH, USED, USED_HIGH
            assert expected == tuple(self.cards.pool_attribute(pool.handle, attribute) for attribute in attributes)

    # The end

    def give_back_driver_memory(self) -> None:
        """Compare what may be reached in each range, then unmap, release and free everything."""
        for region in self.ledger.of_kind(RANGE):
            assert isinstance(region, AddressRange)
            for index, access in enumerate(region.access):
                for offset in range(0, GRANULE_BYTES if access else 0, GRANULE_BYTES // 2):
                    self.compare(region, index * GRANULE_BYTES + offset, GRANULE_BYTES // 2)
            for index, memory in enumerate(region.memories):
                if memory is not None and memory.mapped:
                    size_bytes = sum(other is memory for other in region.memories) * GRANULE_BYTES
                    address = region.base + index * GRANULE_BYTES
                    assert SUCCESS == self.ledger.unmap(address, size_bytes)
                    assert SUCCESS == self.cards.call_driver("cuMemUnmap", address, size_bytes)
            assert SUCCESS == self.ledger.unreserve(region.base, region.size_bytes)
            assert SUCCESS == self.cards.call_driver("cuMemAddressFree", region.base, region.size_bytes)
        for handle in list(self.ledger.memories):
            assert self.ledger.release(handle) == self.cards.call_driver("cuMemRelease", handle)

    def destroy_pools(self) -> None:
        """Destroy the pools that were made and empty the default ones."""
        for number, pool in enumerate(self.ledger.pools):
            own = number > 1
            assert SUCCESS == self.cards.call("cudaMemPoolTrimTo", pool.handle, 0)
            assert own == (self.cards.call("cudaMemPoolDestroy", pool.handle) == SUCCESS)
            self.cards.call("cudaGetLastError")
