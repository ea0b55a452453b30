"""The JSON document, compared as a whole."""

from __future__ import annotations

import json
from pathlib import Path

from pytest_vramguard.render.json import render
from pytest_vramguard.report_table import report_from_table
from tests import samples

GOLD = Path(__file__).parents[2] / "gold"


def test_report_with_a_case_of_each_kind() -> None:
    """The document has schema 1, keys in the order of the format, an indent of two and a newline at the end."""
    assert (GOLD / "report.json").read_text(encoding="ascii") == render(samples.mixed_report())


def test_document_can_be_read_back() -> None:
    """What was rendered is a report again."""
    assert samples.mixed_report() == report_from_table(json.loads(render(samples.mixed_report())))
