"""FSDP and QLoRA of Answer.AI: none of these rows can be rebuilt yet, and each says why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.fidelity.unbuilt import listed

if TYPE_CHECKING:
    from tests.fidelity.rows import Plan, Row

REASON: Final = "two processes with FSDP and a script of its own; one process is emulated here"


def plan(row: Row) -> Plan:
    """Return the row with the reason."""
    return listed("fsdp_qlora", row, REASON)
