"""Qwen's table of memory by length: none of these rows can be rebuilt yet, and each says why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.fidelity.unbuilt import listed

if TYPE_CHECKING:
    from tests.fidelity.rows import Plan, Row

REASON: Final = "Qwen's own model code is not part of transformers, and which counter was read is not said"


def plan(row: Row) -> Plan:
    """Return the row with the reason."""
    return listed("qwen_profiling", row, REASON)
