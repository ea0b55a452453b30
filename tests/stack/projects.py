"""A project of tests that is run twice in processes of its own, and whose cases must agree to the byte."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


def cases(pytester: pytest.Pytester, target: str = "rtx3060") -> dict[str, dict[str, Any]]:
    """Run the project's tests on `target` and return the cases of the report by the id in brackets."""
    pytester.runpytest_subprocess(f"--vram-target={target}", "--vram-json=report.json", "-p", "no:hypothesispytest")
    document = json.loads(pytester.path.joinpath("report.json").read_text(encoding="utf-8"))
    return {case["id"].partition("[")[2].rstrip("]"): case for case in document["cases"]}


def outcomes(cases: dict[str, dict[str, Any]]) -> dict[str, tuple[str, Any]]:
    """Return the outcome of each case, and what its emulated card could not do, for a message that says why."""
    return {name: (case["outcome"], case["reading"].get("reason")) for name, case in cases.items()}


def sizes(cases: dict[str, dict[str, Any]]) -> dict[str, tuple[int, ...]]:
    """Return the peaks of each case, in bytes."""
    kinds = ("peak_allocated_bytes", "peak_reserved_bytes", "peak_device_bytes")
    return {name: tuple(case["reading"].get(kind, 0) for kind in kinds) for name, case in cases.items()}
