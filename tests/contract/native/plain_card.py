"""The plain ledger with what only newer drivers have: virtual memory and memory pools, said once more in plain Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.contract.native.libraries import INVALID_VALUE, OUT_OF_MEMORY, SUCCESS, Libraries
from tests.contract.native.plain_ledger import GRANULE_BYTES, POOLED, RANGE, PlainLedger, Region

if TYPE_CHECKING:
    from collections.abc import Iterable

UNIT_BYTES: Final = 512
GROWTH_BYTES: Final = 32 << 20
READ, READ_WRITE = 1, 3


def rounded(size_bytes: int, unit: int) -> int:
    """Return `size_bytes` rounded up to whole units."""
    return -(-size_bytes // unit) * unit


@dataclass(kw_only=True, eq=False)
class Memory:
    """Physical memory of the card."""

    device: int
    size_bytes: int
    references: int = 1
    mapped: bool = False


@dataclass(kw_only=True)
class AddressRange(Region):
    """Reserved addresses; what is mapped and who may reach it, by granule."""

    memories: list[Memory | None]
    access: list[int]


@dataclass(kw_only=True, eq=False)
class Pool:
    """A memory pool."""

    handle: int
    device: int
    base: int | None = None
    """Lowest address, once it is known."""
    threshold_bytes: int = 0
    reserved_bytes: int = 0
    reserved_high_bytes: int = 0
    used_high_bytes: int = 0


@dataclass(kw_only=True)
class PooledRegion(Region):
    """Memory from a pool."""

    pool: Pool

    @property
    def span_bytes(self) -> int:
        """The addresses that it takes."""
        return rounded(self.size_bytes, UNIT_BYTES)


@dataclass(kw_only=True)
class PlainCard(PlainLedger):
    """The books of some equal cards, virtual memory and pools included."""

    memories: dict[int, Memory] = field(default_factory=dict)
    """By live handle."""
    unreachable: list[Memory] = field(default_factory=list)
    """Without a handle, but mapped."""
    pools: list[Pool] = field(default_factory=list)
    """The default pools come first, one a card."""
    ranges_base: int = 0

    def find_arenas(self, cards: Libraries) -> None:
        """Ask where ranges and default pools begin."""
        code, self.ranges_base = cards.reserve(GRANULE_BYTES)
        assert (SUCCESS, SUCCESS) == (code, cards.call_driver("cuMemAddressFree", self.ranges_base, GRANULE_BYTES))
        self.pools = [Pool(handle=cards.pool_of(device), device=device) for device in range(len(self.arenas))]
        for pool in self.pools:
            cards.set_pool_attribute(pool.handle, 4, 0)
            code, pool.base = cards.allocate_from(pool.handle, 1)
            assert (SUCCESS, SUCCESS) == (code, cards.call("cudaFreeAsync", pool.base, 0))
            cards.call("cudaMemPoolTrimTo", pool.handle, 0)
            for attribute in (6, 8):
                cards.set_pool_attribute(pool.handle, attribute, 0)

    def pool_bases(self) -> Iterable[int]:
        """Return the lowest address of each pool that is known."""
        return [pool.base for pool in self.pools if pool.base is not None]

    # What is used

    def held_bytes(self, device: int) -> int:
        """Return physical memory and what pools hold."""
        memories = (*self.memories.values(), *self.unreachable)
        distinct = {id(memory): memory.size_bytes for memory in memories if memory.device == device}
        return sum(distinct.values()) + sum(pool.reserved_bytes for pool in self.pools if pool.device == device)

    def make_room(self, device: int, size_bytes: int) -> bool:
        """Return whether so much can be had, after the pools have given back what they can if it must be."""
        if self.used_bytes(device) + size_bytes > self.total_bytes:
            for pool in self.pools:
                if pool.device == device:
                    self.shrink(pool, 0)
        return self.used_bytes(device) + size_bytes <= self.total_bytes

    def synchronise(self) -> None:
        """Count a synchronisation; pools give back what is above their threshold."""
        self.counts["synchronisations"] += 1
        for pool in self.pools:
            self.shrink(pool, pool.threshold_bytes)

    # Pools

    def in_pool(self, pool: Pool) -> list[PooledRegion]:
        """Return the live memory of a pool, lowest first."""
        found = [region for region in self.regions.values() if isinstance(region, PooledRegion) and region.pool is pool]
        return sorted(found, key=lambda region: region.base)

    def touched_bytes(self, pool: Pool, *more: tuple[int, int]) -> int:
        """Return the granules that live memory touches, and `more` of (address, size)."""
        spans = [*((region.base, region.span_bytes) for region in self.in_pool(pool)), *more]
        granules = {
            granule for base, size in spans for granule in range(base // GRANULE_BYTES, (base + size - 1) // GRANULE_BYTES + 1)
        }
        return len(granules) * GRANULE_BYTES

    def used_in(self, pool: Pool) -> int:
        """Return what is allocated from a pool."""
        return sum(region.span_bytes for region in self.in_pool(pool))

    def shrink(self, pool: Pool, kept_bytes: int) -> None:
        """Give back what a pool does not need, down to `kept_bytes`."""
        least = max(self.touched_bytes(pool), rounded(kept_bytes, GRANULE_BYTES))
        pool.reserved_bytes = min(pool.reserved_bytes, least)

    def grow(self, pool: Pool, needed_bytes: int) -> bool:
        """Make a pool hold so much; in large steps, else in small ones, else from what other pools do not need."""
        missing = max(0, needed_bytes - pool.reserved_bytes)
        large = rounded(missing, GROWTH_BYTES)
        if missing and self.used_bytes(pool.device) + large <= self.total_bytes:
            missing = large
        elif missing and not self.make_room(pool.device, missing):
            return False
        else:
            missing = max(0, needed_bytes - pool.reserved_bytes)
        if self.used_bytes(pool.device) + missing > self.total_bytes:
            return False
        pool.reserved_bytes += missing
        pool.reserved_high_bytes = max(pool.reserved_high_bytes, pool.reserved_bytes)
        self.note_peak(pool.device)
        return True

    def allocate_from(self, pool: Pool, size_bytes: int) -> tuple[int, int | None]:
        """Return code and address of an allocation, entered if it is good; None for an address that is not known beforehand."""
        if size_bytes == 0:
            return SUCCESS, 0
        if size_bytes > self.total_bytes:
            return OUT_OF_MEMORY, 0
        span, address = rounded(size_bytes, UNIT_BYTES), pool.base or 0
        for region in self.in_pool(pool):
            if region.base - address >= span:
                break
            address = region.base + region.span_bytes
        if not self.grow(pool, self.touched_bytes(pool, (address, span))):
            return OUT_OF_MEMORY, 0
        return SUCCESS, None if pool.base is None else address

    def add_to(self, pool: Pool, base: int, size_bytes: int) -> None:
        """Enter fresh memory of a pool, which is zero."""
        pool.base = base if pool.base is None else pool.base
        contents = memoryview(bytearray(size_bytes))
        self.regions[base] = PooledRegion(kind=POOLED, device=pool.device, base=base, contents=contents, pool=pool)
        pool.used_high_bytes = max(pool.used_high_bytes, self.used_in(pool))

    # Ranges

    def expected_range(self, size_bytes: int) -> int:
        """Return the address of the next range."""
        address = self.ranges_base
        for region in self.of_kind(RANGE):
            if region.base - address >= size_bytes:
                break
            address = region.end
        return address

    def add_range(self, base: int, size_bytes: int) -> None:
        """Enter a range."""
        granules = size_bytes // GRANULE_BYTES
        contents = memoryview(bytearray(size_bytes))
        self.regions[base] = AddressRange(
            kind=RANGE, device=0, base=base, contents=contents, memories=[None] * granules, access=[0] * granules
        )

    def stretch(self, address: int, size_bytes: int) -> tuple[AddressRange, slice] | None:
        """Return the range and the granules of a stretch, or None if it is not whole granules of one range."""
        found = self.find(address)
        if not isinstance(found, AddressRange) or size_bytes <= 0 or address + size_bytes > found.end:
            return None
        if (address - found.base) % GRANULE_BYTES or size_bytes % GRANULE_BYTES:
            return None
        first = (address - found.base) // GRANULE_BYTES
        return found, slice(first, first + size_bytes // GRANULE_BYTES)

    def mapped_at(self, address: int) -> Memory | None:
        """Return what is mapped at an address."""
        found = self.find(address)
        return found.memories[(address - found.base) // GRANULE_BYTES] if isinstance(found, AddressRange) else None

    def unreserve(self, address: int, size_bytes: int) -> int:
        """Strike out a whole range without mappings; returns the code."""
        found = self.regions.get(address)
        if not isinstance(found, AddressRange) or found.size_bytes != size_bytes or any(found.memories):
            return INVALID_VALUE
        del self.regions[address]
        return SUCCESS

    def map(self, address: int, size_bytes: int, handle: int) -> int:
        """Map; returns the code."""
        place, memory = self.stretch(address, size_bytes), self.memories.get(handle)
        if (
            place is None
            or memory is None
            or memory.mapped
            or size_bytes > memory.size_bytes
            or any(place[0].memories[place[1]])
        ):
            return INVALID_VALUE
        found, granules = place
        found.memories[granules] = [memory] * (granules.stop - granules.start)
        memory.mapped = True
        return SUCCESS

    def whole(self, found: AddressRange, granules: slice) -> bool:
        """Return whether a stretch is mapped from end to end and cuts no mapping in two."""
        around = [None, *found.memories, None]
        first, last = around[granules.start], around[granules.stop + 1]
        inside = found.memories[granules]
        return None not in inside and first is not inside[0] and last is not inside[-1]

    def unmap(self, address: int, size_bytes: int) -> int:
        """Unmap whole mappings, whose bytes are lost; returns the code."""
        place = self.stretch(address, size_bytes)
        if place is None or not self.whole(*place):
            return INVALID_VALUE
        found, granules = place
        gone = {id(memory): memory for memory in found.memories[granules] if memory is not None}
        count = granules.stop - granules.start
        found.memories[granules], found.access[granules] = [None] * count, [0] * count
        found.contents[address - found.base : address - found.base + size_bytes] = bytes(size_bytes)
        for memory in gone.values():
            memory.mapped = False
            self.settle(memory)
        return SUCCESS

    def settle(self, memory: Memory) -> None:
        """Give memory back if nobody can reach it."""
        if memory.references == 0 and memory in self.unreachable:
            self.unreachable.remove(memory)
        if memory.references == 0 and memory.mapped:
            self.unreachable.append(memory)
        elif memory.references == 0:
            self.counts["driver_frees"] += 1

    def release(self, handle: int) -> int:
        """Give up a handle; returns the code."""
        memory = self.memories.get(handle)
        if memory is None:
            return INVALID_VALUE
        memory.references -= 1
        if memory.references == 0:
            del self.memories[handle]
            self.settle(memory)
        return SUCCESS

    def set_access(self, address: int, size_bytes: int, access: int) -> int:
        """Say how whole mappings may be reached; returns the code."""
        place = self.stretch(address, size_bytes)
        if place is None or not self.whole(*place):
            return INVALID_VALUE
        found, granules = place
        found.access[granules] = [access] * (granules.stop - granules.start)
        return SUCCESS

    def bytes_at(self, address: int, size_bytes: int, *, writing: bool = False) -> memoryview | None:
        """Return the bytes of a range, or None if it is not within one region or the pool, or may not be reached."""
        found = self.find(address)
        if isinstance(found, AddressRange):
            first, last = (address - found.base) // GRANULE_BYTES, (address + size_bytes - 1 - found.base) // GRANULE_BYTES
            needed = READ_WRITE if writing else READ
            if any(access & needed != needed for access in found.access[first : last + 1]):
                return None
        return super().bytes_at(address, size_bytes, writing=writing)
