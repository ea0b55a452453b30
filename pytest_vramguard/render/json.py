"""The report as JSON, for `--vram-json` and for the programs that read it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pytest_vramguard.report_table import report_to_table

if TYPE_CHECKING:
    from pytest_vramguard.report import Report


def render(report: Report) -> str:
    """Return `report` as one JSON document: schema 1, keys in a fixed order, ASCII, a newline at the end."""
    return json.dumps(report_to_table(report), indent=2) + "\n"
