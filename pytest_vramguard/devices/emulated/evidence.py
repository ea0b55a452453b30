"""What an emulated card was asked and could not answer: the reasons not to judge by it, and what its reader should know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pytest_vramguard.devices.emulated import libraries
from pytest_vramguard.devices.emulated.known.reads import places_text
from pytest_vramguard.units import size_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_vramguard.devices.emulated.known.reads import ReadLog

COLLECTIVES: Final = {
    "all-reduce": "bytes_all_reduced",
    "all-gather": "bytes_all_gathered",
    "reduce-scatter": "bytes_reduce_scattered",
    "broadcast and reduce": "bytes_broadcast",
    "from rank to rank": "bytes_exchanged",
}
"""Counters of what was given to NCCL, by what they are called in a note."""
EMPTY: Final[Mapping[str, int]] = {}


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


def communication_notes(device: int, counted_before: Mapping[str, int] = EMPTY) -> tuple[str, ...]:
    """Return what NCCL holds on `device` outside the allocator, and how much it was given since, by kind."""
    counted = libraries.counted()
    sizes = {kind: counted[counter] - counted_before.get(counter, 0) for kind, counter in COLLECTIVES.items()}
    given = [f"{kind} {size_text(size_bytes)}" for kind, size_bytes in sizes.items() if size_bytes]
    if not given:
        return ()
    held_bytes = libraries.held_peak_bytes(device)
    buffers = (
        f"{size_text(held_bytes)} of the memory outside the allocator, by formula"
        if held_bytes
        else "none on the card, they lie in host memory: cards of this kind do not reach each other's, or there is but one rank"
    )
    return (f"NCCL's buffers: {buffers}", f"given to NCCL: {', '.join(given)}")


def absence_notes(world_size: int, present: Sequence[int]) -> tuple[str, ...]:
    """Return that of `world_size` ranks only those that are `present` were run."""
    ranks = ", ".join(map(str, present))
    return (f"of {world_size} ranks only {ranks} were run: what another one would differ in is not known",)
