"""The door for pytest: options, marker, fixture and hooks. What is heavy is imported only when a vram test begins."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest

from pytest_vramguard.errors import SettingsError, VramguardError
from pytest_vramguard.settings import (
    DEVICE_CHOICES,
    NUMBER_KEYS,
    PROJECT_KEYS,
    Settings,
    resolve,
    wishes_of_ini,
    wishes_of_mapping,
    wishes_of_marker,
    wishes_of_project,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from pytest_vramguard.guard import Case, Guard
    from pytest_vramguard.report import CaseResult, Report

MARKER_HELP: Final = (
    "vram(max_gb=None, band=None, target=None, steps=None, warmup=None): measure the peak GPU memory of the test and fail it "
    "when that is above the target card or above max_gb GiB, or when its share of the card lies outside band=(low, high)."
)
OPTION_HELP: Final = {
    "target": "card to judge vram tests against, or several separated by commas, as in rtx3060,t4 (list: vramguard cards)",
    "device": "run vram tests on a real card (cuda), on an emulated one, or (auto) on a real one if there is one",
    "json": "write the vram report as JSON to this path",
    "steps": "training steps of a recipe after the warm-up",
    "warmup": "training steps of a recipe before those",
}
TARGET_PARAMETER: Final = "vram_target"
"""Name under which several targets parametrise a test."""

FAULT: Final = pytest.StashKey[str]()
CASE: Final[pytest.StashKey[Case]] = pytest.StashKey()
RESULT: Final[pytest.StashKey[CaseResult]] = pytest.StashKey()
USAGE_ERROR: Final = pytest.StashKey[bool]()
UNJUDGED: Final = pytest.StashKey[bool]()
KEYS_OF_ONE_RUN: Final[tuple[pytest.StashKey[Any], ...]] = (CASE, RESULT, USAGE_ERROR, UNJUDGED)
"""What a test that is run again starts without."""
HOOKS: Final[pytest.StashKey[CaseHooks]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the options and their ini twins; every default is None, which means unset."""
    group = parser.getgroup("vramguard", "GPU memory of training recipes")
    for name, text in OPTION_HELP.items():
        details: dict[str, Any] = {"choices": DEVICE_CHOICES} if name == "device" else {"metavar": name.upper()}
        if name in NUMBER_KEYS:
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
    if CASE not in request.node.stash:
        _fail_usage(request.node, "vram: asked for while the test ran, expected among its arguments; add the argument vram")
    case: Case = request.node.stash[CASE]
    return case


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
        ini = wishes_of_ini({name: config.getini(f"vram_{name}") for name in OPTION_HELP}, config.rootpath)
        self._lower = (ini, wishes_of_project(config.rootpath / "pyproject.toml"))
        self.settings = resolve(self._command_line, *self._lower)
        self._guard: Guard | None = None
        self._fault: VramguardError | None = None
        if self.settings.targets:
            try:
                self._ready_guard(self.settings)
            except VramguardError as fault:
                if self._command_line.targets is not None:
                    raise
                self._fault = fault  # a device that cannot be had is a fault only once a test wants it

    def pytest_report_header(self) -> str | None:
        """Say what vram tests are judged against, and what they run on."""
        return f"vramguard: {self._guard.headline}" if self._guard else None

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a vram test once for each of several targets."""
        if not is_case(metafunc.definition):
            return
        try:
            targets = self.settings_of(metafunc.definition).targets
        except VramguardError:
            return  # raised for every faulty marker at once, when collection ends
        if len(targets) > 1:
            metafunc.fixturenames.append(TARGET_PARAMETER)
            metafunc.parametrize(TARGET_PARAMETER, targets)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Check the marker and the targets of every test that is to run."""
        wanted: dict[str, list[pytest.Item]] = {}
        for item in filter(is_case, items):
            fault = self._fault_of(item)
            if fault is not None:
                item.stash[FAULT] = fault
                wanted.setdefault(fault, []).append(item)
        if wanted and hasattr(config, "workerinput"):
            # A worker of pytest-xdist must not end here: it runs the faulty tests alone, and each says what is wrong with it.
            items[:] = [item for item in items if FAULT in item.stash]
        elif wanted:
            raise pytest.UsageError("\n".join(f"{_place(faulty)}: {fault}" for fault, faulty in wanted.items()))

    def _fault_of(self, item: pytest.Item) -> str | None:
        try:
            settings = self.settings_of(item)
            if settings.targets:
                self._ready_guard(settings).check_targets(settings.targets)
        except VramguardError as fault:
            return str(fault)
        if len(settings.targets) > 1 and TARGET_PARAMETER not in _parameters(item):
            return f"targets {', '.join(settings.targets)}: expected one, since pytest runs a test of this kind only once"
        return None

    def _ready_guard(self, settings: Settings) -> Guard:
        """Return the guard of this process, made for the first target that is asked for.

        Raises:
            VramguardError: it cannot be had.
        """
        from pytest_vramguard.guard import Guard

        if self._fault is not None:
            raise self._fault
        self._guard = self._guard or Guard(settings)
        return self._guard

    def settings_of(self, item: pytest.Item) -> Settings:
        """Return what holds for one test, for which the marker nearest to it is the strongest.

        Raises:
            SettingsError: a marker has unknown arguments or wrong values.
        """
        wishes = [wishes_of_marker(mark.args, mark.kwargs, item.path.parent) for mark in item.iter_markers("vram")]
        return resolve(self._command_line, *wishes, *self._lower)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Open the case before the test's fixtures are set up, and after the test could have been skipped."""
        if not is_case(item):
            return
        item.stash[UNJUDGED] = True  # until the case is open
        if FAULT in item.stash:
            _fail_usage(item, f"{item.nodeid}: {item.stash[FAULT]}")
        settings = self.settings_of(item)
        if self._guard is None or not settings.targets:
            _fail_usage(item, f"{item.nodeid}: no target card, expected one; name it: pytest --vram-target rtx3060")
        target = _parameters(item).get(TARGET_PARAMETER, settings.targets[0])
        try:
            item.stash[CASE] = self._guard.open_case(item.nodeid, target, settings, (item.path.parent, item.config.rootpath))
        except VramguardError as fault:
            _fail_usage(item, str(fault))
        item.stash[UNJUDGED] = False

    @pytest.hookimpl(wrapper=True, specname="pytest_runtest_setup")
    def pytest_runtest_setup_end(self, item: pytest.Item) -> Generator[None, object, object]:
        """Judge when a fixture of the test has failed."""
        try:
            return (yield)
        except BaseException as error:
            _end(item, error)
            raise

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Judge when the test's own code has ended; a gate that did not pass fails the test here, in its call phase."""
        try:
            outcome = yield
        except BaseException as error:
            _end(item, error)
            raise
        _end(item, _noted_error(item))
        return outcome

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put the result on the report, in builtins, so that it reaches the process that prints, also through pytest-xdist."""
        report = yield
        if call.when == "teardown":
            for key in KEYS_OF_ONE_RUN:
                if key in item.stash:
                    del item.stash[key]
        elif UNJUDGED in item.stash:
            if item.stash[UNJUDGED] and hasattr(report, "wasxfail"):
                # xfail accepts a gate that failed; a gate that could not judge must be seen all the same.
                del report.wasxfail
                report.outcome = "failed"
                report.longrepr = str(call.excinfo.value) if call.excinfo else None
            from pytest_vramguard.report_table import case_to_table

            report.vramguard = {  # type: ignore[attr-defined]  # a report keeps any attribute
                "usage_error": item.stash.get(USAGE_ERROR, False),
                "case": case_to_table(item.stash[RESULT]) if RESULT in item.stash else None,
            }
        return report


def _place(faulty: list[pytest.Item]) -> str:
    """Return the first of the tests that share a fault, and how many more there are."""
    return faulty[0].nodeid if len(faulty) == 1 else f"{faulty[0].nodeid} and {len(faulty) - 1} more"


def _parameters(item: pytest.Item) -> Mapping[str, Any]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def _noted_error(item: pytest.Item) -> BaseException | None:
    """Return the error of a `unittest` test, which pytest notes on the item instead of letting it through."""
    noted = getattr(item, "_excinfo", None)
    return noted[0].value if noted else None


def _end(item: pytest.Item, error: BaseException | None) -> None:
    """End the case of a test, if it has one, whose code ended with `error`."""
    from unittest import SkipTest

    if CASE not in item.stash:
        return
    if isinstance(error, (pytest.skip.Exception, SkipTest, pytest.exit.Exception, KeyboardInterrupt)):
        item.stash[CASE].abandon()
    else:
        _judge(item, error)


def _judge(item: pytest.Item, error: BaseException | None) -> None:
    """Conclude the case, and raise if a gate did not pass, unless the test ended with an error of its own."""
    from pytest_vramguard.render.terminal import failure_text
    from pytest_vramguard.verdict import Outcome

    case = item.stash[CASE]
    result = item.stash[RESULT] = case.conclude(error)
    if isinstance(error, VramguardError):
        _fail_usage(item, str(error))
    if result.outcome is Outcome.PASS or case.is_foreign(error):
        return
    item.stash[UNJUDGED] = result.outcome is Outcome.UNJUDGED
    _fail(failure_text(result), error)


def _fail_usage(item: pytest.Item, message: str) -> NoReturn:
    """Fail the test over something that its author must mend; the run then ends with pytest's status for usage errors."""
    item.stash[USAGE_ERROR] = item.stash[UNJUDGED] = True
    _fail(message)


def _fail(message: str, error: BaseException | None = None) -> NoReturn:
    """Fail the test with `message` alone; a debugger opens where `error` was raised."""
    raise pytest.fail.Exception(message, pytrace=False).with_traceback(error.__traceback__ if error else None) from None


class ReportHooks:
    """Hooks of the process that prints: gathers results from wherever the tests ran."""

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
        """Write the report, and turn the exit status into that of a usage error if there was one."""
        if self._tables and self._json_path is not None:
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
        if not self._tables:
            return
        from pytest_vramguard.render.terminal import render

        terminalreporter.section("vramguard")
        terminalreporter.write(render(self._report(), width=config.get_terminal_writer().fullwidth))
        if self._write_fault is not None:
            terminalreporter.write_line(self._write_fault, red=True)

    def _report(self) -> Report:
        from pytest_vramguard.report_table import SCHEMA, report_from_table

        tool = f"pytest-vramguard {version('pytest-vramguard')}"
        return report_from_table({"schema": SCHEMA, "tool": tool, "cases": list(self._tables.values())})
