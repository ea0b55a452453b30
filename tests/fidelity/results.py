"""Results on disk."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from tests.fidelity.rows import Comparison

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMAT_VERSION: Final = 1


def document(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Return comparisons as what `json` writes."""
    return {"schema": FORMAT_VERSION, "comparisons": [asdict(comparison) for comparison in comparisons]}


def read(root: dict[str, Any]) -> list[Comparison]:
    """Return the comparisons in a document.

    Raises:
        ValueError: it was written by another version.
    """
    if root["schema"] != FORMAT_VERSION:
        raise ValueError(f"results: schema {root['schema']}, expected {FORMAT_VERSION}; make them anew with make fidelity")
    return [Comparison(**entry) for entry in root["comparisons"]]
