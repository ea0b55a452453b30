"""The report as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_vramguard.errors import SettingsError
from pytest_vramguard.render.json import render

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_vramguard.report import Report


def write_report(report: Report, path: Path) -> None:
    """Write `report` as JSON, making the folders that are missing.

    Raises:
        SettingsError: the file cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(report), encoding="utf-8")
    except OSError as fault:
        message = f"{path}: {fault.strerror}, expected to write the report there; correct --vram-json"
        raise SettingsError(message) from fault
