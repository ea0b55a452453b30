"""The door for pytest: says what there is to ask for, and loads the rest when something is asked.

A project without vram tests imports of ours `options` and `reports` alone: what resolves settings is imported when
something asks for them, and what is heavy when a vram test begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from pytest_vramguard.errors import VramguardError
from pytest_vramguard.plugin.options import INI, MARKER_HELP, OPTIONS, asks, is_case
from pytest_vramguard.plugin.reports import ReportHooks

if TYPE_CHECKING:
    from pytest_vramguard.guard import Case
    from pytest_vramguard.plugin.cases import CaseHooks

HOOKS: Final[pytest.StashKey[CaseHooks]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the options and their ini twins; every default is None, which means unset."""
    group = parser.getgroup("vramguard", "GPU memory of training recipes")
    for name, (text, details) in OPTIONS.items():
        metavar = {} if "action" in details else {"metavar": name.upper()}
        group.addoption(f"--vram-{name}", default=None, help=text, **{**metavar, **details})
    for name, text in INI.items():
        parser.addini(f"vram_{name}", text, default=None)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Put the card in place before any conftest or test module can import torch, if one is asked for."""
    if not asks(early_config):
        return
    try:
        case_hooks(early_config)
    except VramguardError as fault:
        raise pytest.UsageError(str(fault)) from None


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and in the process that prints the hooks that report."""
    config.addinivalue_line("markers", MARKER_HELP)
    if HOOKS not in config.stash:  # nothing was asked for, or pytest was started without reading conftests
        pytest_load_initial_conftests(config)
    if not hasattr(config, "workerinput"):  # under pytest-xdist the workers run the tests, and this process reports
        settings = config.stash[HOOKS].settings if HOOKS in config.stash else None
        config.pluginmanager.register(ReportHooks(settings), "vramguard-report")


@pytest.fixture
def vram(request: pytest.FixtureRequest) -> Case:
    """Measure this test's GPU memory: `vram.train(recipe)`, `vram.phase(name)`, `vram.step(tokens)`, `vram.callback()`."""
    return case_hooks(request.config).case_of(request.node)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a vram test once for each of several targets."""
    if is_case(metafunc.definition):
        case_hooks(metafunc.config).parametrize(metafunc)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check the marker and the targets of every test that is to run."""
    cases = list(filter(is_case, items))
    if cases:
        case_hooks(config).check(cases, items)


def case_hooks(config: pytest.Config) -> CaseHooks:
    """Return the hooks of the vram tests, registered when they are first wanted.

    Raises:
        VramguardError: a setting is wrong, or the target named on the command line cannot be had.
    """
    if HOOKS not in config.stash:
        from pytest_vramguard.plugin.cases import CaseHooks

        config.stash[HOOKS] = CaseHooks(config)
        config.pluginmanager.register(config.stash[HOOKS], "vramguard-cases")
    return config.stash[HOOKS]
