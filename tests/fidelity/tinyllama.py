"""The trace of one QLoRA pass of TinyLlama-1.1B: its peak, and the segments that it asked from the driver, in order."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Final

from tests.fidelity.rows import Plan, Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PEAK: Final = "peak allocated"
OVER_BASE: Final = "peak allocated, above what was allocated before the pass"
RESERVED: Final = "peak reserved"
COUNT: Final = "segments asked from the driver, number"
SIZES: Final = "segments asked from the driver, bytes"
SEQUENCE: Final = "segments asked from the driver, share of the sequence that agrees"
EVENTS: Final = "allocations and frees, share of the trace's that come in the same order"


def plan_of_trace(lines: Sequence[Any]) -> Plan:
    """Return how to rebuild the pass; the first line holds the totals, each other one an event."""
    head, events = lines[0], lines[1:]
    segments = [event[1] for event in events if event[0] == "s"]
    measured = {
        PEAK: head["peak_allocated_bytes"],
        OVER_BASE: head["peak_allocated_bytes"] - head["base_allocated_bytes"],
        RESERVED: head["peak_reserved_bytes"],
        COUNT: float(len(segments)),
        SIZES: float(sum(segments)),
        SEQUENCE: 1.0,
        EVENTS: 1.0,
    }
    tensors = [(event[0], event[1]) for event in events if event[0] != "s"]
    run = Run(
        script="tinyllama",
        era="torch-2.1.2",
        card="rtx3090",
        settings={"attention": "sdpa"},
        counters=lambda counted: counters(counted, segments, tensors),
        packages=("transformers==4.40.2", "tokenizers==0.19.1", "peft==0.10.0"),
        lowered="the card of the trace is not named: an RTX 3090 stands for it; releases were inferred",
    )
    return Plan(source="tinyllama", identity="TinyLlama-1.1B 4-bit LoRA 1 x 1000", grade="A", measured=measured, run=run)


def counters(counted: Mapping[str, Any], segments: Sequence[int], tensors: Sequence[tuple[str, int]]) -> dict[str, float]:
    """Return the value of each metric."""
    emulated = [(action, size) for action, size in counted["events"]]
    return {
        PEAK: counted["peak_allocated_bytes"],
        OVER_BASE: counted["peak_allocated_bytes"] - counted["base_allocated_bytes"],
        RESERVED: counted["peak_reserved_bytes"],
        COUNT: float(len(counted["segments"])),
        SIZES: float(sum(counted["segments"])),
        SEQUENCE: _in_order(segments, counted["segments"]) / max(len(segments), len(counted["segments"])),
        EVENTS: _in_order(tensors, emulated) / len(tensors),
    }


def _in_order(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Return how many members of two sequences agree, as far as the longest common parts in order go."""
    return sum(block.size for block in SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks())
