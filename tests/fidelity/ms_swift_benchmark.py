"""Ms-swift's benchmark: none of these rows can be rebuilt yet, and each says why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.fidelity.unbuilt import listed

if TYPE_CHECKING:
    from tests.fidelity.rows import Plan, Row

REASON: Final = (
    "lengths between 91 and 19,548 tokens whose order nobody recorded, and model code that is not part of transformers"
)


def plan(row: Row) -> Plan:
    """Return the row with the reason."""
    return listed("ms_swift_benchmark", row, REASON)
