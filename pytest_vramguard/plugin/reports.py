"""Hooks of the process that prints: gather the results from wherever the tests ran, show them, write them down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_vramguard.errors import SettingsError, VramguardError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from pytest_vramguard.report import Report


class ReportHooks:
    """The results of the run."""

    def __init__(self, json_path: Path | None) -> None:
        """Start without results; `json_path` is where the report goes besides the terminal."""
        self._json_path = json_path
        self._tables: dict[str, dict[str, object]] = {}
        self._usage_error = False
        self._write_fault: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the last result of each test; one that is rerun has several."""
        carried = getattr(report, "vramguard", {"usage_error": False, "case": None})
        self._usage_error = self._usage_error or carried["usage_error"]
        if carried["case"] is not None:
            self._tables[report.nodeid] = carried["case"]

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Write the report, which may hold no case, and turn the exit status into that of a usage error if there was one."""
        if self._json_path is not None and not session.config.option.collectonly:
            from pytest_vramguard.report_file import write_report

            try:
                write_report(self._report(), self._json_path)
            except SettingsError as fault:
                self._usage_error, self._write_fault = True, str(fault)
        outcome = yield  # the terminal prints its summary
        if self._usage_error:
            session.exitstatus = VramguardError.exit_code
        return outcome

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        """Print the table of all cases, and why it could not be written."""
        if self._tables:
            from pytest_vramguard.render.terminal import render

            terminalreporter.section("vramguard")
            terminalreporter.write(render(self._report(), width=config.get_terminal_writer().fullwidth))
        if self._write_fault is not None:
            terminalreporter.write_line(self._write_fault, red=True)

    def _report(self) -> Report:
        from importlib.metadata import version

        from pytest_vramguard.report_table import SCHEMA, report_from_table

        tool = f"pytest-vramguard {version('pytest-vramguard')}"
        return report_from_table({"schema": SCHEMA, "tool": tool, "cases": list(self._tables.values())})
