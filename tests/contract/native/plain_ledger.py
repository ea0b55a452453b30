"""What the emulated card must do, said once more in plain Python: no granule flags, no tables, every byte kept.

Written from the contract in core.h, not from the C code, so that the two can be compared.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from tests.contract.native.libraries import ALREADY_REGISTERED, INVALID_VALUE, NOT_REGISTERED, OUT_OF_MEMORY, SUCCESS

GRANULE_BYTES: Final = 2 << 20
REAL_BYTES: Final = 1 << 20
DEVICE, MANAGED, PINNED, REGISTERED = "device", "managed", "pinned", "registered"
POOLED, RANGE = "pooled", "range"
"""Device memory of a pool, and a range of addresses into which device memory may be mapped."""


def whole_granules(size_bytes: int) -> int:
    """Return `size_bytes` rounded up to what device memory is counted in."""
    return -(-size_bytes // GRANULE_BYTES) * GRANULE_BYTES


@dataclass(kw_only=True)
class Region:
    """A stretch of memory that the card knows."""

    kind: str
    device: int
    base: int
    contents: memoryview
    """The bytes that the region should hold."""

    @property
    def size_bytes(self) -> int:
        """The size that was asked for."""
        return len(self.contents)

    @property
    def end(self) -> int:
        """The address after the last byte."""
        return self.base + self.size_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """The shape of a copy of rows, in bytes."""

    to_pitch: int
    """From the start of a row to the start of the next, where they go."""
    from_pitch: int
    """The same where they come from."""
    width: int
    """Of a row."""
    count: int
    """Number of rows."""


@dataclass(kw_only=True)
class PlainLedger:
    """The books of some equal cards."""

    total_bytes: int
    context_bytes: int
    arenas: tuple[int, ...]
    """Lowest device address of each card."""
    pool: Region
    """Ordinary host memory of the tests, which the card does not know unless parts of it are registered."""
    regions: dict[int, Region] = field(default_factory=dict)
    """By base address."""
    peaks: dict[int, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    """What the counters of the libraries have grown by."""
    device: int = 0
    """The present one."""

    def of_kind(self, kind: str, device: int | None = None) -> list[Region]:
        """Return the live regions of a kind, lowest first."""
        found = [region for region in self.regions.values() if region.kind == kind and device in (None, region.device)]
        return sorted(found, key=lambda region: region.base)

    def find(self, address: int) -> Region | None:
        """Return the region that holds `address`."""
        return next((region for region in self.regions.values() if region.base <= address < region.end), None)

    def used_bytes(self, device: int) -> int:
        """Return context and device memory."""
        return (
            self.context_bytes
            + self.held_bytes(device)
            + sum(whole_granules(region.size_bytes) for region in self.of_kind(DEVICE, device))
        )

    def held_bytes(self, device: int) -> int:  # noqa: ARG002 # the subclass needs it
        """Return what is used besides regions of device memory; see plain_card.py."""
        return 0

    def make_room(self, device: int, size_bytes: int) -> bool:
        """Return whether so much can be had."""
        return self.used_bytes(device) + size_bytes <= self.total_bytes

    def note_peak(self, device: int) -> None:
        """Note what is used now."""
        self.peaks[device] = max(self.peaks[device], self.total_bytes - self.free_bytes(device))

    def resident_bytes(self, device: int) -> int:
        """Return the managed memory that is on the card: what fits beside the rest."""
        managed_bytes = sum(region.size_bytes for region in self.of_kind(MANAGED, device))
        return min(managed_bytes, self.total_bytes - self.used_bytes(device))

    def free_bytes(self, device: int) -> int:
        """Return what `cudaMemGetInfo` calls free."""
        return self.total_bytes - self.used_bytes(device) - self.resident_bytes(device)

    def reset_peaks(self) -> None:
        """Start new peaks at what is used now."""
        self.peaks = {device: self.total_bytes - self.free_bytes(device) for device in range(len(self.arenas))}

    def expected_allocation(self, size_bytes: int) -> tuple[int, int]:
        """Return code and address of the next allocation of device memory: the lowest gap that is large enough."""
        if size_bytes == 0:
            return SUCCESS, 0
        span_bytes = whole_granules(size_bytes)
        if size_bytes > self.total_bytes or not self.make_room(self.device, span_bytes):
            return OUT_OF_MEMORY, 0
        address = self.arenas[self.device]
        for region in self.of_kind(DEVICE, self.device):
            if region.base - address >= span_bytes:
                break
            address = region.base + whole_granules(region.size_bytes)
        return SUCCESS, address

    def add(self, kind: str, base: int, size_bytes: int) -> None:
        """Enter fresh memory, which is zero."""
        self.regions[base] = Region(kind=kind, device=self.device, base=base, contents=memoryview(bytearray(size_bytes)))
        self.note_peak(self.device)
        self.counts["driver_allocations"] += kind == DEVICE

    def free(self, address: int, *kinds: str) -> int:
        """Strike out a region of one of `kinds`; returns the code."""
        found = self.regions.get(address)
        if address == 0:
            return SUCCESS
        if found is None or found.kind not in kinds:
            return INVALID_VALUE
        del self.regions[address]
        self.counts["driver_frees"] += found.kind == DEVICE
        return SUCCESS

    def register(self, address: int, size_bytes: int) -> int:
        """Enter a part of the pool; returns the code."""
        if address == 0 or size_bytes == 0:
            return INVALID_VALUE
        if any(region.base < address + size_bytes and address < region.end for region in self.regions.values()):
            return ALREADY_REGISTERED
        offset = address - self.pool.base
        contents = self.pool.contents[offset : offset + size_bytes]
        self.regions[address] = Region(kind=REGISTERED, device=0, base=address, contents=contents)
        return SUCCESS

    def unregister(self, address: int) -> int:
        """Strike out a registered part of the pool; returns the code."""
        found = self.regions.get(address)
        if found is None or found.kind != REGISTERED:
            return NOT_REGISTERED
        del self.regions[address]
        return SUCCESS

    def bytes_at(self, address: int, size_bytes: int, *, writing: bool = False) -> memoryview | None:  # noqa: ARG002 # as above
        """Return the bytes of a range, or None if it is not within one region or the pool; see also plain_card.py."""
        found = self.find(address) or self.pool
        offset = address - found.base
        if offset < 0 or offset + size_bytes > found.size_bytes:
            return None
        return found.contents[offset : offset + size_bytes]

    def on_card(self, address: int) -> bool:
        """Return whether `address` is device memory."""
        found = self.find(address)
        return found is not None and found.kind in {DEVICE, POOLED, RANGE}

    def copy(self, to: int, from_: int, size_bytes: int) -> int:
        """Copy; returns the code."""
        return self.copy_rows(to, from_, Rows(to_pitch=size_bytes, from_pitch=size_bytes, width=size_bytes, count=1))

    def copy_rows(self, to: int, from_: int, rows: Rows) -> int:
        """Copy rows; returns the code."""
        size_bytes = rows.width * rows.count
        if size_bytes == 0:
            return SUCCESS
        target = self.bytes_at(to, rows.to_pitch * (rows.count - 1) + rows.width, writing=True)
        source = self.bytes_at(from_, rows.from_pitch * (rows.count - 1) + rows.width)
        if target is None or source is None:
            return INVALID_VALUE
        to_card, from_card = self.on_card(to), self.on_card(from_)
        lost = size_bytes > REAL_BYTES and (to_card or from_card)
        for row in range(rows.count):
            begin, to_begin = row * rows.from_pitch, row * rows.to_pitch
            copied = bytes(rows.width) if lost else source[begin : begin + rows.width].tobytes()
            target[to_begin : to_begin + rows.width] = copied
        self.counts["bytes_to_device"] += size_bytes * (to_card and not from_card)
        self.counts["bytes_to_host"] += size_bytes * (from_card and not to_card)
        return SUCCESS

    def fill(self, to: int, pattern: bytes, count: int) -> int:
        """Write `pattern` `count` times; returns the code."""
        size_bytes = len(pattern) * count
        if size_bytes == 0:
            return SUCCESS
        target = self.bytes_at(to, size_bytes, writing=True)
        if target is None or self.find(to) is None:
            return INVALID_VALUE
        target[:] = bytes(size_bytes) if self.on_card(to) and size_bytes > REAL_BYTES else pattern * count
        return SUCCESS
