"""Every way in which torch can get memory, with torch's own allocators on an emulated RTX 3060; sizes in MiB.

Each test runs `allocator_program.py` in a process of its own, for torch reads `PYTORCH_ALLOC_CONF` once.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stack.processes import printed_by

pytestmark = [pytest.mark.stack]

NOTHING = {"allocated": 0, "reserved": 0, "driver": 0}


def told(name: str, configuration: str = "") -> dict[str, Any]:
    """Run a part of the program under a configuration and return what it saw."""
    printed = printed_by("-m", "tests.stack.allocator_program", name, PYTORCH_ALLOC_CONF=configuration)
    seen: dict[str, Any] = json.loads(printed)
    return seen


def held(allocated: float, reserved: float) -> dict[str, float]:
    """Return what must be told where torch and the driver agree."""
    return {"allocated": allocated, "reserved": reserved, "driver": reserved}


def test_segments_of_the_caching_allocator() -> None:
    """Segments are as large as the blocks in them, small ones 2 MiB; an empty cache and an end leave nothing."""
    seen = told("life")

    assert {
        "backend": "native",
        "two blocks": held(130, 130),
        "bytes": [1, 2, 3],
        "one freed": held(30, 132),
        "emptied": held(30, 30),
        "full": "CUDA out of memory",
        "after": held(30, 30),
        "trained": seen["trained"],
        "end": NOTHING,
        "peak reserved": 132,
    } == seen


def test_expandable_segments() -> None:
    """A segment grows in steps of 20 MiB for large blocks, and its unused pages go back to the card one by one.

    What the step of training allocates is the same as with ordinary segments.
    """
    seen = told("life", "expandable_segments:True")

    assert {
        "backend": "native",
        "two blocks": held(130, 140),
        "bytes": [1, 2, 3],
        "one freed": held(30, 142),
        "emptied": held(30, 40),
        "full": "CUDA out of memory",
        "after": held(30, 40),
        "trained": 64.25,
        "end": NOTHING,
        "peak reserved": 142,
    } == seen


@pytest.mark.long
def test_pools_of_the_driver() -> None:
    """With `cudaMallocAsync` torch's statistics are those of the driver's pool, which grows in steps of 32 MiB."""
    seen = told("life", "backend:cudaMallocAsync")

    assert {
        "backend": "cudaMallocAsync",
        "two blocks": held(130, 160),
        "bytes": [1, 2, 3],
        "one freed": held(30, 160),
        "emptied": held(30, 30),
        "full": "Allocation on device 0 would exceed allowed memory",
        "after": held(30, 30),
        "trained": 64.25,
        "end": NOTHING,
        "peak reserved": 160,
    } == seen


@pytest.mark.parametrize(("configuration", "reserved"), [("", 100), ("max_split_size_mb:64", 130)])
def test_a_large_block_is_split_unless_that_is_forbidden(configuration: str, reserved: int) -> None:
    """30 MiB come out of a free block of 100 MiB, but not if no block above 64 MiB may be split."""
    assert {"part": held(30, reserved)} == told("split", configuration)


@pytest.mark.parametrize(("configuration", "retries"), [("", 1), ("garbage_collection_threshold:0.5", 0)])
def test_unused_blocks_are_collected_early(configuration: str, retries: int) -> None:
    """Under a cap of a tenth of the card, a free block goes back before the cap is reached, or when it was."""
    assert {"later": held(700, 700), "size": 700, "retries": retries} == told("collected", configuration)


def test_sizes_are_rounded_to_parts_of_powers_of_two() -> None:
    """1200 MiB become 1280 MiB, the next quarter between 1024 and 2048."""
    assert {"odd": held(1280, 1280), "size": 1200} == told("rounded", "roundup_power2_divisions:4")


def test_a_pool_of_ones_own_and_a_cap() -> None:
    """A `MemPool` has segments of its own, which live as long as it does; what is above a cap is refused by torch."""
    assert {
        "segments": 1,
        "both": held(80, 80),
        "pool kept": held(0, 40),
        "pool gone": NOTHING,
        "capped": True,
    } == told("pools")


def test_graphs_are_recorded_and_replayed() -> None:
    """Capture does no work and keeps its pool's memory; each replay does all of it; what capture forbids says so."""
    seen = told("graph")

    assert [0, seen["work"][1], seen["work"][1]] == seen["work"]
    assert seen["work"][1] > 0
    assert seen["held"]["reserved"] > seen["before"]["reserved"]
    assert seen["held"]["reserved"] == seen["held"]["driver"]
    assert [8, 32] == seen["callables"]
    assert ["CUDA error: operation not permitted when stream is capturing"] * 2 == seen["forbidden"]
    assert seen["given back"]


@pytest.mark.long
def test_managed_and_pinned_memory_and_sharing() -> None:
    """Managed memory is on the card while there is room and else on the host, as pinned memory is; CUDA IPC is refused."""
    assert {
        "pinned": 64,
        "paged": 1024,
        "roomy": [1024, 0],
        "crowded": True,
        "pinned peak": 64,
        "filler": 11,
        "shared": ["cudaIpcGetMemHandle"],
    } == told("host")
