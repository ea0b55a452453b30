"""What an emulated card was asked and could not answer: the reasons not to judge by it, and what its reader should know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pytest_vramguard.devices.emulated import libraries
from pytest_vramguard.devices.emulated.known.reads import places_text
from pytest_vramguard.units import size_text

if TYPE_CHECKING:
    from pytest_vramguard.devices.emulated.known.reads import ReadLog

COLLECTIVES: Final = {
    "all-reduce": "bytes_all_reduced",
    "all-gather": "bytes_all_gathered",
    "reduce-scatter": "bytes_reduce_scattered",
    "broadcast and reduce": "bytes_broadcast",
    "from rank to rank": "bytes_exchanged",
}
"""Counters of what was given to NCCL, by what they are called in a note."""


def gaps_in(log: ReadLog) -> tuple[str, ...]:
    """Return the functions that were called and are not emulated, and the shapes that only a real card could know."""
    refused = tuple(f"emulation does not cover {name}" for name in libraries.refused())
    if not log.shapes:
        return refused
    shapes = places_text(log.shapes)
    return (*refused, f"data-dependent: {shapes}; an emulated card computes no values: use a real one, --vram-device cuda")


def notes_in(log: ReadLog) -> tuple[str, ...]:
    """Return what was taken for granted about values that nobody computed, each in a line."""
    granted = (
        ("values that are not computed here were read as 0", log.reads),
        ("losses or metrics that are not computed here were read as 0", log.metrics),
        ("data-dependent: a balanced assignment to experts was assumed", log.balanced),
        ("ranks that are not run were taken to say what those that are say", log.assumed),
        ("times came from a clock that counts launches, so what is chosen by them may be chosen otherwise", log.times),
    )
    return tuple(f"{what}: {places_text(places)}" for what, places in granted if places)


def communication_notes(device: int) -> tuple[str, ...]:
    """Return what NCCL holds on `device` outside the allocator, and how much this process has given it, by kind."""
    counted = libraries.counted()
    given = [f"{kind} {size_text(counted[counter])}" for kind, counter in COLLECTIVES.items() if counted[counter]]
    if not given:
        return ()
    held = size_text(libraries.held_peak_bytes(device))
    return (f"NCCL's buffers: {held} of the memory outside the allocator, by formula", f"given to NCCL: {', '.join(given)}")
