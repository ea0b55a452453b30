"""Torchtune's tables: none of these rows can be rebuilt yet, and each says why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.fidelity.unbuilt import listed

if TYPE_CHECKING:
    from tests.fidelity.rows import Plan, Row

REASON: Final = "torchtune's own model and recipes are another program, and the compiled rows need its kernels"


def plan(row: Row) -> Plan:
    """Return the row with the reason."""
    return listed("torchtune", row, REASON)
