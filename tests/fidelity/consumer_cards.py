"""Reports from consumer cards: none of these rows can be rebuilt yet, and each says why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.fidelity.unbuilt import listed

if TYPE_CHECKING:
    from tests.fidelity.rows import Plan, Row

REASON: Final = "image sizes, optimizer and script of the run are not in the report"


def plan(row: Row) -> Plan:
    """Return the row with the reason."""
    return listed("consumer_cards", row, REASON)
