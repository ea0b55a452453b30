"""The card catalogue as text: a table for people, JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from pytest_vramguard.units import GIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_vramguard.cards import Card

SCHEMA: Final = 1
"""Version of the JSON form. 1: the first."""

_HEADS: Final = ("key", "name", "size", "usable", "context", "sm", "SMs", "bandwidth", "bf16")
_TEXT_COLUMNS: Final = 2
"""The columns before the numbers."""
_LEGEND: Final = """
size, usable, context: GiB on the box, GiB that CUDA reports on a current Linux driver, GiB that a process holds of it outside
  PyTorch's allocator
sm: compute capability; SMs: streaming multiprocessors; bandwidth: published peak of the memory, in 10**9 bytes/s
bf16: published dense rate with fp32 accumulation, in 10**12 operations/s; -: the card has no bf16 tensor cores
Where each number comes from: vramguard cards --json
"""


def render(cards: Sequence[Card]) -> str:
    """Return a table of one row a card, in the order of `cards`, and a legend."""
    rows = [_HEADS, *map(_cells, cards)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_row_text(row, widths) for row in rows) + "\n" + _LEGEND


def render_json(cards: Sequence[Card]) -> str:
    """Return every field of `cards`, sources included, as one JSON document: ASCII, a newline at the end."""
    return json.dumps({"schema": SCHEMA, "cards": [asdict(card) for card in cards]}, indent=2) + "\n"


def _cells(card: Card) -> tuple[str, ...]:
    major, minor = card.compute_capability
    rate = card.dense_flops_per_second.get("bf16")
    return (
        card.key,
        card.name,
        str(card.nominal_gib),
        f"{card.usable_bytes / GIB:.2f}",
        f"{card.context_bytes / GIB:.2f}",
        f"{major}.{minor}",
        str(card.sm_count),
        f"{card.memory_bandwidth_bytes_per_second / 1e9:.0f}",
        "-" if rate is None else f"{rate / 1e12:.0f}",
    )


def _row_text(row: tuple[str, ...], widths: Sequence[int]) -> str:
    texts = [cell.ljust(width) for cell, width in zip(row[:_TEXT_COLUMNS], widths, strict=False)]
    numbers = [cell.rjust(width) for cell, width in zip(row[_TEXT_COLUMNS:], widths[_TEXT_COLUMNS:], strict=True)]
    return "  ".join([*texts, *numbers])
