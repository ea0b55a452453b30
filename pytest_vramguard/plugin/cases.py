"""Hooks of the process that runs the tests: open, judge and end the case of each vram test.

Registered when a setting or a test of the project wants them. What is heavy is imported only when a vram test begins.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest

from pytest_vramguard.errors import VramguardError
from pytest_vramguard.plugin.options import INI, OPTIONS, is_case
from pytest_vramguard.settings import (
    BASELINES_FOLDER,
    COMMAND_KEYS,
    Settings,
    Wishes,
    resolve,
    wishes_of_ini,
    wishes_of_mapping,
    wishes_of_marker,
    wishes_of_project,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from pytest_vramguard.guard import Case, Guard
    from pytest_vramguard.report import CaseResult

TARGET_PARAMETER: Final = "vram_target"
"""Name under which several targets parametrise a test."""

FAULT: Final = pytest.StashKey[str]()
CASE: Final[pytest.StashKey[Case]] = pytest.StashKey()
RESULT: Final[pytest.StashKey[CaseResult]] = pytest.StashKey()
USAGE_ERROR: Final = pytest.StashKey[bool]()
UNJUDGED: Final = pytest.StashKey[bool]()
SUBTEST_ERROR: Final = pytest.StashKey[BaseException]()
"""The first error of a subtest, which ends that subtest alone and lets the test's own code go on."""
KEYS_OF_ONE_RUN: Final[tuple[pytest.StashKey[Any], ...]] = (CASE, RESULT, USAGE_ERROR, UNJUDGED, SUBTEST_ERROR)
"""What a test that is run again starts without."""


class CaseHooks:
    """The run and its cases."""

    def __init__(self, config: pytest.Config) -> None:
        """Resolve the settings of the run and, where its target is known, make the process ready for it.

        Raises:
            VramguardError: a setting is wrong, nothing can be written where artifacts belong, or the target named on the
                command line cannot be had.
        """
        said = {name: getattr(config.known_args_namespace, f"vram_{name}", None) for name in OPTIONS}
        self._command_line = wishes_of_mapping(said, "command line: --vram", COMMAND_KEYS, config.invocation_params.dir)
        ini = wishes_of_ini({name: config.getini(f"vram_{name}") for name in INI}, config.rootpath)
        project = wishes_of_project(config.rootpath / "pyproject.toml")
        self._lower = (ini, project, Wishes(baselines=config.rootpath / BASELINES_FOLDER))
        self.settings = resolve(self._command_line, *self._lower)
        if self.settings.artifacts is not None:
            from pytest_vramguard.artifacts import prepare_folder

            prepare_folder(self.settings.artifacts)
        config.add_cleanup(gc.unfreeze)  # what pytest_unconfigure freezes
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
        accepting = (
            f"; accepting baselines into {self.settings.baselines}, growth is not judged" if self.settings.accept else ""
        )
        return f"vramguard: {self._guard.headline}{accepting}" if self._guard else None

    def parametrize(self, metafunc: pytest.Metafunc) -> None:
        """Have a vram test run once for each of several targets."""
        try:
            targets = self.settings_of(metafunc.definition).targets
        except VramguardError:
            return  # raised for every faulty marker at once, when collection ends
        if len(targets) > 1:
            metafunc.fixturenames.append(TARGET_PARAMETER)
            metafunc.parametrize(TARGET_PARAMETER, targets)

    def check(self, cases: list[pytest.Item], items: list[pytest.Item]) -> None:
        """Check the marker and the targets of `cases`, the vram tests among the `items` that are to run."""
        wanted: dict[str, list[pytest.Item]] = {}
        for item in cases:
            fault = self._fault_of(item)
            if fault is not None:
                item.stash[FAULT] = fault
                wanted.setdefault(fault, []).append(item)
        if wanted and hasattr(cases[0].config, "workerinput"):
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

    def case_of(self, item: pytest.Item) -> Case:
        """Return the open case of a test; fails the test if it has none."""
        if CASE not in item.stash:
            _fail_usage(item, "vram: asked for while the test ran, expected among its arguments; add the argument vram")
        return item.stash[CASE]

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
        _end(item, _noted_error(item) or item.stash.get(SUBTEST_ERROR, None))
        return outcome

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put the result on the report, in builtins, so that it reaches the process that prints, also through pytest-xdist.

        A report that is made while the case is open is a subtest's.
        """
        if CASE in item.stash and RESULT not in item.stash and call.excinfo is not None and _fails(call.excinfo.value):
            item.stash.setdefault(SUBTEST_ERROR, call.excinfo.value)
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

    @pytest.hookimpl(tryfirst=True)
    def pytest_unconfigure(self) -> None:
        """Find the last errors of finalizers before pytest does, in half the time."""
        if self._guard is not None:
            from pytest_vramguard.collector import search_for_the_last_time

            search_for_the_last_time()


def _place(faulty: list[pytest.Item]) -> str:
    """Return the first of the tests that share a fault, and how many more there are."""
    return faulty[0].nodeid if len(faulty) == 1 else f"{faulty[0].nodeid} and {len(faulty) - 1} more"


def _parameters(item: pytest.Item) -> Mapping[str, Any]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def _noted_error(item: pytest.Item) -> BaseException | None:
    """Return the error of a `unittest` test, which pytest notes on the item instead of letting it through."""
    noted = getattr(item, "_excinfo", None)
    return noted[0].value if noted else None


def _fails(error: BaseException) -> bool:
    """Return whether a subtest that ended with `error` has failed, and was neither skipped nor expected to fail."""
    from unittest import SkipTest

    return not isinstance(error, (pytest.skip.Exception, pytest.xfail.Exception, SkipTest))


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
    if not result.is_red or case.is_foreign(error):
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
