"""Hooks of the process that prints: gather the results from wherever the tests ran, show them, write them down."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pytest_vramguard.errors import VramguardError

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_vramguard.baseline import Acceptance
    from pytest_vramguard.report import Report
    from pytest_vramguard.settings import Settings


class ReportHooks:
    """The results of the run."""

    def __init__(self, settings: Settings | None) -> None:
        """Start without results; `settings` are those of the run, None if nobody asked for anything."""
        self._settings = settings
        self._tables: dict[str, dict[str, object]] = {}
        self._not_passed: set[str] = set()
        self._usage_error = False
        self._write_faults: list[str] = []
        self._accepted: tuple[Acceptance, ...] = ()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the last result of each test, and whether it passed; one that is rerun has several."""
        carried = getattr(report, "vramguard", {"usage_error": False, "case": None})
        self._usage_error = self._usage_error or carried["usage_error"]
        if report.when == "setup":
            self._not_passed.discard(report.nodeid)
        if not report.passed or hasattr(report, "wasxfail"):
            self._not_passed.add(report.nodeid)
        if carried["case"] is not None:
            self._tables[report.nodeid] = carried["case"]

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None, object, object]:
        """Write the report, which may hold no case, and the baselines, and see to the exit status.

        It is that of a usage error if there was one, and that of failed tests if a test passed that may be no baseline.
        """
        if self._settings is not None and not session.config.option.collectonly:
            self._write_report(self._settings)
            if self._settings.accept:
                self._accept(self._settings, session, exitstatus)
        outcome = yield  # the terminal prints its summary
        if self._usage_error:
            session.exitstatus = VramguardError.exit_code
        return outcome

    def _write_report(self, settings: Settings) -> None:
        if settings.json_path is None:
            return
        from pytest_vramguard.report_file import write_report

        with self._faults_kept():
            write_report(self._report(), settings.json_path)

    def _accept(self, settings: Settings, session: pytest.Session, exitstatus: int) -> None:
        """Make baselines of the tests that passed, unless the run was cut short."""
        from pytest_vramguard.baseline import Acceptance
        from pytest_vramguard.baselines import BaselineStore, accept

        if exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
            self._write_faults.append("no baseline was accepted: the run did not come to its end")
            return
        report = self._report()
        passed = [case for case in report.cases if case.id not in self._not_passed]
        others = [case for case in report.cases if case.id in self._not_passed]
        with self._faults_kept():
            accepted = accept(passed, BaselineStore(folder=settings.baselines), tool=report.tool)
            if any(acceptance.refusal for acceptance in accepted) and exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
            failed = (Acceptance(case=case.id, target=case.target, refusal="the test did not pass") for case in others)
            self._accepted = (*accepted, *failed)

    @contextmanager
    def _faults_kept(self) -> Generator[None, None, None]:
        """Keep the error of a file that could not be written, for the summary and for the exit status."""
        try:
            yield
        except VramguardError as fault:
            self._usage_error = True
            self._write_faults.append(str(fault))

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        """Print the table of all cases, what became a baseline, and why something could not be written."""
        if self._tables:
            from pytest_vramguard.render.terminal import render

            terminalreporter.section("vramguard")
            terminalreporter.write(render(self._report(), width=config.get_terminal_writer().fullwidth))
        if self._accepted:
            from pytest_vramguard.render.baselines import render_accepted

            terminalreporter.write(render_accepted(self._accepted))
        for fault in self._write_faults:
            terminalreporter.write_line(fault, red=True)

    def _report(self) -> Report:
        from importlib.metadata import version

        from pytest_vramguard.report_table import SCHEMA, report_from_table

        tool = f"pytest-vramguard {version('pytest-vramguard')}"
        return report_from_table({"schema": SCHEMA, "tool": tool, "cases": list(self._tables.values())})
