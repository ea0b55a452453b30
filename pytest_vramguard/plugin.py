"""The door for pytest: options, marker, fixture and hooks. What is heavy is imported only when a vram test begins."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest

from pytest_vramguard.errors import SettingsError, VramguardError
from pytest_vramguard.settings import (
    DEVICE_CHOICES,
    MARKER_KEYS,
    PROJECT_KEYS,
    Settings,
    resolve,
    wishes_of_mapping,
    wishes_of_project,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_vramguard.guard import Case, Guard
    from pytest_vramguard.report import CaseResult, Report

MARKER_HELP: Final = (
    "vram(max_gb=None, band=None, target=None, steps=None, warmup=None): measure the peak GPU memory of the test and fail it when "
    "that is above the target card or above max_gb GiB, or when its share of the card lies outside band=(low, high)."
)
OPTION_HELP: Final = {
    "target": "card to judge vram tests against, or several separated by commas, as in rtx3060,t4 (list: vramguard cards)",
    "device": "run vram tests on a real card (cuda), on an emulated one, or (auto) on a real one if there is one",
    "json": "write the vram report as JSON to this path",
    "steps": "training steps of a recipe after the warm-up",
    "warmup": "training steps of a recipe before those",
}
NUMBERS: Final = ("steps", "warmup")
TARGET_PARAMETER: Final = "vram_target"
"""Name under which several targets parametrise a test."""

CASE: Final = pytest.StashKey["Case"]()
RESULT: Final = pytest.StashKey["CaseResult"]()
USAGE_ERROR: Final = pytest.StashKey[bool]()
UNJUDGED: Final = pytest.StashKey[bool]()
HOOKS: Final = pytest.StashKey["CaseHooks"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the options and their ini twins; every default is None, which means unset."""
    group = parser.getgroup("vramguard", "GPU memory of training recipes")
    for name, text in OPTION_HELP.items():
        details: dict[str, Any] = {"choices": DEVICE_CHOICES} if name == "device" else {"metavar": name.upper()}
        if name in NUMBERS:
            details["type"] = int
        group.addoption(f"--vram-{name}", default=None, help=text, **details)
        parser.addini(f"vram_{name}", text, default=None)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Put the card in place before any conftest or test module can import torch."""
    try:
        early_config.stash[HOOKS] = CaseHooks(early_config)
    except VramguardError as fault:
        raise pytest.UsageError(str(fault)) from None


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and the hooks that need the settings."""
    config.addinivalue_line("markers", MARKER_HELP)
    if HOOKS not in config.stash:  # pytest was started without reading conftests
        pytest_load_initial_conftests(config)
    hooks = config.stash[HOOKS]
    config.pluginmanager.register(hooks, "vramguard-cases")
    if not hasattr(config, "workerinput"):  # under pytest-xdist the workers run the tests, and this process reports
        config.pluginmanager.register(ReportHooks(hooks.settings.json_path), "vramguard-report")


@pytest.fixture
def vram(request: pytest.FixtureRequest) -> Case:
    """Measure this test's GPU memory: `vram.train(recipe)`, `vram.phase(name)`, `vram.step(tokens)`, `vram.callback()`."""
    return request.node.stash[CASE]


def is_case(item: pytest.Item) -> bool:
    """Return whether a test is to be measured: it has the marker, or it uses the fixture."""
    return item.get_closest_marker("vram") is not None or "vram" in getattr(item, "fixturenames", ())


class CaseHooks:
    """Hooks of the process that runs the tests."""

    def __init__(self, config: pytest.Config) -> None:
        """Resolve the settings of the run and, where its target is known, make the process ready for it.

        Raises:
            VramguardError: a setting is wrong, or the target named on the command line cannot be had.
        """
        said = {name: getattr(config.known_args_namespace, f"vram_{name}", None) for name in OPTION_HELP}
        self._command_line = wishes_of_mapping(said, "command line: --vram", PROJECT_KEYS, config.invocation_params.dir)
        ini = wishes_of_mapping(_ini_values(config), "ini: vram", PROJECT_KEYS, config.rootpath)
        self._lower = (ini, wishes_of_project(config.rootpath / "pyproject.toml"))
        self.settings = resolve(self._command_line, *self._lower)
        self._guard: Guard | None = None
        self._fault: VramguardError | None = None
        if self.settings.targets:
            self._enter(self.settings)
        if self._fault is not None and self._command_line.targets is not None:
            raise self._fault

    def _enter(self, settings: Settings) -> None:
        """Make the process ready; a device that cannot be had is a fault only once a test wants it."""
        from pytest_vramguard.guard import Guard  # noqa: PLC0415 - a run without vram tests needs none of it

        try:
            self._guard = Guard(settings)
        except VramguardError as fault:
            self._fault = fault

    def pytest_report_header(self) -> str | None:
        """Say what vram tests are judged against, and what they run on."""
        return f"vramguard: {self._guard.headline}" if self._guard else None

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a vram test once for each of several targets."""
        if metafunc.definition.get_closest_marker("vram") is None and "vram" not in metafunc.fixturenames:
            return
        try:
            targets = self._case_settings(metafunc.definition).targets
        except VramguardError:
            return  # raised for every faulty marker at once, when collection ends
        if len(targets) > 1:
            metafunc.fixturenames.append(TARGET_PARAMETER)
            metafunc.parametrize(TARGET_PARAMETER, targets)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Check the marker and the targets of every test that is to run."""
        faults = [fault for item in items if is_case(item) and (fault := self._fault_of(item)) is not None]
        if faults:
            raise pytest.UsageError("\n".join(dict.fromkeys(faults)))

    def _fault_of(self, item: pytest.Item) -> str | None:
        try:
            settings = self._case_settings(item)
            if settings.targets and self._guard is None and self._fault is None:
                self._enter(settings)
            if self._guard is not None:
                self._guard.check_targets(settings.targets)
        except VramguardError as fault:
            return str(fault)
        return str(self._fault) if self._fault else None

    def _case_settings(self, item: pytest.Item) -> Settings:
        """Return what holds for one test.

        Raises:
            SettingsError: its marker has unknown arguments or wrong values.
        """
        mark = item.get_closest_marker("vram")
        source = f"{item.nodeid}: marker vram"
        if mark is not None and mark.args:
            message = f"{source}: got the positional argument {mark.args[0]!r}, expected keywords: {', '.join(MARKER_KEYS)}"
            raise SettingsError(message)
        wishes = wishes_of_mapping(mark.kwargs if mark else {}, source, MARKER_KEYS, item.path.parent)
        return resolve(self._command_line, wishes, *self._lower)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Open the case before the test's fixtures are set up, and after the test could have been skipped."""
        if not is_case(item):
            return
        item.stash[UNJUDGED] = True  # until the case is open
        settings = self._case_settings(item)
        if self._guard is None or not settings.targets:
            _fail_usage(item, f"{item.nodeid}: no target card, expected one; name it: pytest --vram-target rtx3060")
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        target = parameters.get(TARGET_PARAMETER, settings.targets[0])
        try:
            item.stash[CASE] = self._guard.open_case(item.nodeid, target, settings, (item.path.parent, item.config.rootpath))
        except VramguardError as fault:
            _fail_usage(item, str(fault))
        item.stash[UNJUDGED] = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Judge when the test's own code has ended; a gate that did not pass fails the test here, in its call phase."""
        if CASE not in item.stash:
            return (yield)
        try:
            outcome = yield
        except (pytest.skip.Exception, pytest.exit.Exception, KeyboardInterrupt):
            item.stash[CASE].abandon()
            raise
        except BaseException as error:
            _judge(item, error)
            raise
        _judge(item, None)
        return outcome

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put the result on the report, in builtins, so that it reaches the process that prints."""
        report = yield
        if call.when == "setup" and call.excinfo is not None and CASE in item.stash:
            item.stash[RESULT] = item.stash[CASE].conclude(call.excinfo.value)
        if call.when == "teardown":
            return report
        if item.stash.get(UNJUDGED, False) and report.outcome == "skipped":
            # xfail accepts a gate that failed; a gate that could not judge must be seen all the same.
            report.outcome = "failed"
            report.longrepr = str(call.excinfo.value) if call.excinfo else None
            del report.wasxfail
        _attach(report, item)
        return report


def _ini_values(config: pytest.Config) -> dict[str, object]:
    """Return the ini options that are set, with numbers as numbers where they are."""
    said = {name: config.getini(f"vram_{name}") for name in OPTION_HELP}
    return {name: int(value) if name in NUMBERS and str(value).isdigit() else value for name, value in said.items() if value}


def _fail_usage(item: pytest.Item, message: str) -> NoReturn:
    """Fail the test over something that its author must mend; the run then ends with pytest's status for usage errors."""
    item.stash[USAGE_ERROR] = item.stash[UNJUDGED] = True
    pytest.fail(message, pytrace=False)


def _judge(item: pytest.Item, error: BaseException | None) -> None:
    """Conclude the case, and raise if a gate did not pass, unless the test ended with an error of its own."""
    from pytest_vramguard.render.terminal import failure_text  # noqa: PLC0415 - only a case renders
    from pytest_vramguard.verdict import Outcome  # noqa: PLC0415 - only a case has an outcome

    result = item.stash[CASE].conclude(error)
    item.stash[RESULT] = result
    if isinstance(error, VramguardError):
        _fail_usage(item, str(error))
    if result.outcome is Outcome.PASS or (error is not None and result.outcome is Outcome.UNJUDGED and not item.stash[CASE].gaps):
        return
    item.stash[UNJUDGED] = result.outcome is Outcome.UNJUDGED
    pytest.fail(failure_text(result), pytrace=False)


def _attach(report: pytest.TestReport, item: pytest.Item) -> None:
    """Let the report carry what `ReportHooks` needs; pytest-xdist carries builtins along."""
    from pytest_vramguard.report_table import case_to_table  # noqa: PLC0415 - only a case has a result

    report.vramguard = {
        "usage_error": item.stash.get(USAGE_ERROR, False),
        "case": case_to_table(item.stash[RESULT]) if RESULT in item.stash else None,
    }


class ReportHooks:
    """Hooks of the process that prints: gathers results from wherever the tests ran."""

    def __init__(self, json_path: Path | None) -> None:
        """Start without results; `json_path` is where the report goes besides the terminal."""
        self._json_path = json_path
        self._tables: dict[str, dict[str, object]] = {}
        self._usage_error = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the last result of each test; one that is rerun has several."""
        carried = getattr(report, "vramguard", None)
        if carried is None:
            return
        self._usage_error = self._usage_error or carried["usage_error"]
        if carried["case"] is not None:
            self._tables[report.nodeid] = carried["case"]

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Write the report, and turn the exit status into that of a usage error if there was one."""
        outcome = yield
        if self._tables and self._json_path is not None:
            self._write(self._json_path)
        if self._usage_error:
            session.exitstatus = VramguardError.exit_code
        return outcome

    def _write(self, path: Path) -> None:
        from pytest_vramguard.render.json import render  # noqa: PLC0415 - only a report renders

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(render(self._report()), encoding="utf-8")
        except OSError as fault:
            self._usage_error = True
            self._write_fault = f"{path}: {fault.strerror}, expected to write the report there; correct --vram-json"

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:  # noqa: ANN401 - a type that pytest keeps to itself
        """Print the table of all cases."""
        if not self._tables:
            return
        from pytest_vramguard.render.terminal import render  # noqa: PLC0415 - only a report renders

        terminalreporter.section("vramguard")
        terminalreporter.write(render(self._report(), width=terminalreporter._tw.fullwidth))

    def _report(self) -> Report:
        from pytest_vramguard.report import Report  # noqa: PLC0415 - only a report with cases needs it
        from pytest_vramguard.report_table import case_from_table  # noqa: PLC0415 - the same

        cases = tuple(case_from_table(table) for table in self._tables.values())
        return Report(tool=f"pytest-vramguard {version('pytest-vramguard')}", cases=cases)
