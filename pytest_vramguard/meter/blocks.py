"""The history of the allocator's blocks, and what was alive at its highest point.

torch records every allocation and release on request. Here that record is taken in chunks, so that the owner of a block can be
asked between chunks, while its tensor is alive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from inspect import signature
from typing import TYPE_CHECKING, Any, Final

import torch

from pytest_vramguard.reading import SiteBytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_vramguard.meter.sites import SiteReader
    from pytest_vramguard.reading import Site

BLOCK_BYTES: Final = 512
"""Every block is a multiple of this. Source: torch, c10/cuda/CUDACachingAllocator.cpp, kMinBlockSize."""
MOST_EVENTS: Final = 1_000_000
"""Events that torch keeps between two chunks; a step of a large model makes some ten thousand."""


UNNEEDED: Final = ("free_requested", "segment_alloc", "segment_free", "segment_map", "segment_unmap", "snapshot")
"""Events that torch need not record. Source: torch, torch/csrc/cuda/memory_snapshot.cpp."""


def _begin_anew(*, stacks: bool, everything: bool) -> None:
    """Drop what was recorded, and record; `stacks`: the Python stack of each allocation, too; `everything`: every event.

    Releases of torch that cannot be told to drop what was recorded do so when recording ends.
    """
    record = torch.cuda.memory._record_memory_history
    known = signature(record).parameters
    wishes = {"clear_history": True, "skip_actions": [] if everything else list(UNNEEDED)}
    if "clear_history" not in known:
        record(None)
    details = {name: value for name, value in wishes.items() if name in known}
    record("all", context="alloc" if stacks else None, stacks="python", max_entries=MOST_EVENTS, **details)


class Owner(Enum):
    """What a block holds."""

    WEIGHTS = "weights"
    ADAPTERS = "adapters"
    GRADIENTS = "gradients"
    OPTIMIZER = "optimizer"
    WORKSPACE = "workspace"


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """What a living object keeps in a block."""

    owner: Owner
    module: str = ""
    """Path of the module that the object belongs to, numbers collapsed; empty where it is not known."""


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
    holding: Holding | None = None
    site: Site | None = None
    """Where it was allocated; None where that is not recorded."""
    ran_in: str = ""
    """Path of the module that ran when it was allocated; empty where none did."""

    @property
    def owner(self) -> Owner | None:
        """What it holds, where a living object said so."""
        return None if self.holding is None else self.holding.owner

    @property
    def module(self) -> str:
        """Path of the module that owns it, or else of the one that ran."""
        return self.ran_in if self.holding is None else self.holding.module


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
    refused: dict[int, SiteBytes] = field(default_factory=dict)
    """The last allocation of each device for which there was no memory; empty unless sites are read."""
    sites: SiteReader | None = None
    """Reads where each block was allocated; None records no stacks, which cost as much as the allocation."""
    kept: list[list[Any]] | None = None
    """Every event as torch tells it, by device, for a snapshot; None keeps none."""

    def start(self) -> None:
        """Begin to record."""
        _begin_anew(stacks=self.sites is not None or self.kept is not None, everything=self.kept is not None)

    def stop(self) -> None:
        """Record no more."""
        torch.cuda.memory._record_memory_history(None)

    def take(self) -> dict[str, Any]:
        """Move what torch has recorded since the last call into this history, and return torch's own account of it."""
        account: dict[str, Any] = torch.cuda.memory._snapshot()
        for device, chunk in enumerate(account["device_traces"]):
            self.overflowed = self.overflowed or len(chunk) >= MOST_EVENTS
            self._follow(device, chunk)
        if self.kept is not None:
            self.kept += [[] for _ in account["device_traces"][len(self.kept) :]]
            for kept, chunk in zip(self.kept, account["device_traces"], strict=True):
                kept.extend(chunk)
        self.start()
        return account

    def _follow(self, device: int, chunk: Iterable[Any]) -> None:
        for event in chunk:
            action = event["action"]
            if action == "alloc":
                self._begin(device, event)
            elif action == "free_completed":
                self._end(event["addr"])
            elif action == "oom" and self.sites is not None:
                self.refused[device] = SiteBytes(site=self.sites.site_of(event)[0], size_bytes=event["size"])

    def _begin(self, device: int, event: Any) -> None:
        self.events += 1
        address = event["addr"]
        rounded = -(-event["size"] // BLOCK_BYTES) * BLOCK_BYTES
        block = self.alive[address] = Block(device=device, address=address, size_bytes=rounded, born=self.events)
        if self.sites is not None:
            block.site, block.ran_in = self.sites.site_of(event)
        self.blocks.append(block)

    def _end(self, address: int) -> None:
        self.events += 1
        freed = self.alive.pop(address, None)
        if freed is None:
            self.strangers_freed += 1
        else:
            freed.died = self.events

    def own(self, holdings: Mapping[int, Holding]) -> None:
        """Note what the living blocks at these addresses hold; a block keeps what it held first."""
        for address, holding in holdings.items():
            block = self.alive.get(address)
            if block is not None and block.holding is None:
                block.holding = holding

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
