"""Rows that are listed with the reason why they are not rebuilt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.fidelity.rows import NotRebuilt, Plan, Row

if TYPE_CHECKING:
    from collections.abc import Mapping

_BYTES_PER_UNIT: Final[Mapping[str, float]] = {"GiB": 2.0**30, "MiB": 2.0**20}


def listed(source: str, row: Row, reason: str) -> Plan:
    """Return a plan that builds nothing; a value without a unit of its own counts as 1e9 bytes, several by the largest."""
    value = row.get("value")
    largest = max(value) if isinstance(value, list) else value
    measured = float(largest) * _BYTES_PER_UNIT.get(row.get("unit", ""), 1e9) if largest else 0.0
    settings = row.get("settings", {})
    lengths = settings.get("seq_len") or settings.get("max_length") or settings.get("context_length") or ""
    words = (row.get("model", ""), row.get("method", ""), row.get("quantization") or "", row.get("step", ""), str(lengths))
    identity = " ".join(word for word in words if word)
    metric = "out of memory" if row.get("oom") else str(row["metric"])
    return Plan(
        source=source, identity=identity, grade=row["grade"], measured={metric: measured}, run=NotRebuilt(reason=reason)
    )
