"""The history of the allocator's blocks, and what was alive at its highest point.

torch records every allocation and release on request. Here that record is taken in chunks, so that the owner of a block can be
asked between chunks, while its tensor is alive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from inspect import signature
from typing import TYPE_CHECKING, Final

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

BLOCK_BYTES: Final = 512
"""Every block is a multiple of this. Source: torch, c10/cuda/CUDACachingAllocator.cpp, kMinBlockSize."""
MOST_EVENTS: Final = 1_000_000
"""Events that torch keeps between two chunks; a step of a large model makes some ten thousand."""


UNNEEDED: Final = ("free_requested", "segment_alloc", "segment_free", "segment_map", "segment_unmap", "snapshot", "oom")
"""Events that torch need not record. Source: torch, torch/csrc/cuda/memory_snapshot.cpp."""


def _begin_anew() -> None:
    """Drop what was recorded, and record. Releases of torch that cannot be told to drop it do so when recording ends."""
    record = torch.cuda.memory._record_memory_history
    known = signature(record).parameters
    wishes = {"clear_history": True, "skip_actions": list(UNNEEDED)}
    if "clear_history" not in known:
        record(None)
    record("all", context=None, max_entries=MOST_EVENTS, **{name: value for name, value in wishes.items() if name in known})


class Owner(Enum):
    """What a block holds."""

    WEIGHTS = "weights"
    GRADIENTS = "gradients"
    OPTIMIZER = "optimizer"


@dataclass(eq=False, kw_only=True, slots=True)
class Block:
    """One allocation of the caching allocator."""

    device: int
    address: int
    size_bytes: int
    """Rounded up to whole blocks, as the allocator counts it."""
    born: int
    """Number of the event that allocated it."""
    died: int | None = None
    """Number of the event that released it."""
    owner: Owner | None = None


def history_is_kept() -> bool:
    """Return whether the allocator that torch was told to use keeps a history: its own does, `cudaMallocAsync` does not."""
    return torch.cuda.get_allocator_backend() == "native"


@dataclass(kw_only=True, slots=True)
class BlockHistory:
    """Every block since `start`, and which of them are alive."""

    blocks: list[Block] = field(default_factory=list)
    alive: dict[int, Block] = field(default_factory=dict)
    """By address, which no two devices share."""
    events: int = 0
    """Allocations and releases so far."""
    strangers_freed: int = 0
    """Blocks from before `start` that were released since."""
    overflowed: bool = False
    """Whether torch had to drop events, so that the history has gaps."""

    def start(self) -> None:
        """Begin to record. Python and C++ stacks are not recorded: they cost more than the allocation."""
        _begin_anew()

    def stop(self) -> None:
        """Record no more."""
        torch.cuda.memory._record_memory_history(None)

    def take(self) -> None:
        """Move what torch has recorded since the last call into this history."""
        for device, chunk in enumerate(torch.cuda.memory._snapshot()["device_traces"]):
            self.overflowed = self.overflowed or len(chunk) >= MOST_EVENTS
            for event in chunk:
                action = event["action"]
                if action == "alloc":
                    self._begin(device, event["addr"], event["size"])
                elif action == "free_completed":
                    self._end(event["addr"])
        self.start()

    def _begin(self, device: int, address: int, size_bytes: int) -> None:
        self.events += 1
        rounded = -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES
        block = self.alive[address] = Block(device=device, address=address, size_bytes=rounded, born=self.events)
        self.blocks.append(block)

    def _end(self, address: int) -> None:
        self.events += 1
        freed = self.alive.pop(address, None)
        if freed is None:
            self.strangers_freed += 1
        else:
            freed.died = self.events

    def own(self, owners: Mapping[int, Owner]) -> None:
        """Note the owner of the living blocks at these addresses; a block keeps its first owner."""
        for address, owner in owners.items():
            block = self.alive.get(address)
            if block is not None and block.owner is None:
                block.owner = owner

    def at_peak(self, device: int) -> tuple[int, list[Block]]:
        """Return the number of the event at which most bytes of `device` were alive, and its blocks alive then."""
        blocks = [block for block in self.blocks if block.device == device]
        changes = [(block.born, block.size_bytes) for block in blocks]
        changes += [(block.died, -block.size_bytes) for block in blocks if block.died is not None]
        total_bytes = peak_bytes = peak_event = 0
        for event, size_bytes in sorted(changes):
            total_bytes += size_bytes
            if total_bytes > peak_bytes:
                peak_bytes, peak_event = total_bytes, event
        alive = [block for block in blocks if block.born <= peak_event and (block.died is None or block.died > peak_event)]
        return peak_event, alive
