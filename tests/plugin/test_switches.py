"""Switches of pytest that change how it runs, prints or imports."""

from __future__ import annotations

import sys

import pytest

from tests.plugin.projects import ENVIRONMENT, HOLD, ON_RTX3060, Run, run_in

MODULE = (
    HOLD
    + """
pytestmark = pytest.mark.vram(max_gb=0.5)


def test_fits():
    print("said by a test")
    hold(2**20)


def test_too_large():
    hold(2**30)


def test_after():
    hold(2**20)
"""
)


@pytest.mark.stack
def test_exitfirst_stops_at_a_failed_gate(pytester: pytest.Pytester) -> None:
    """With -x the first failed gate ends the run; neither a cache nor captured output is needed for that."""
    pytester.makepyfile(MODULE)

    run = run_in(pytester, "-x", "-p", "no:cacheprovider", "--capture=no", *ON_RTX3060)

    assert {"passed": 1, "failed": 1} == run.result.parseoutcomes()
    assert {"test_fits": "PASS", "test_too_large": "FAIL"} == run.verdicts
    assert "said by a test" in run.text


@pytest.mark.stack
def test_the_report_is_written_without_a_terminal(pytester: pytest.Pytester) -> None:
    """Without the terminal plugin, and with modules imported by importlib, report and status are the same."""
    pytester.makepyfile(MODULE)

    run = run_in(pytester, "-p", "no:terminal", "--import-mode=importlib", *ON_RTX3060)

    assert {"test_fits": "PASS", "test_too_large": "FAIL", "test_after": "PASS"} == run.verdicts
    assert pytest.ExitCode.TESTS_FAILED == run.result.ret


@pytest.mark.stack
def test_the_debugger_opens_where_the_card_was_full(pytester: pytest.Pytester) -> None:
    """With --pdb a failed gate stops in the test's own frames, and the run goes on to its end."""
    pytester.makepyfile(test_full=f"{HOLD}\n@pytest.mark.vram\ndef test_full():\n    hold(2**36)\n")
    command = (sys.executable, "-m", "pytest", "--pdb", *ENVIRONMENT["PYTEST_ADDOPTS"].split(), *ON_RTX3060)

    run = Run(result=pytester.run(*command, stdin=b"where\ncontinue\n", timeout=120), folder=pytester.path)

    assert {"test_full": "FAIL"} == run.verdicts
    run.result.stdout.fnmatch_lines(["*entering PDB*", "*test_full.py(*)test_full()", "-> hold(2[*][*]36)", "*PDB continue*"])


@pytest.mark.stack
def test_collecting_alone_measures_nothing(pytester: pytest.Pytester) -> None:
    """With --collect-only tests are listed, none is a case, and no report is written."""
    pytester.makepyfile("import pytest\n@pytest.mark.vram\ndef test_a(): pass")

    run = run_in(pytester, "--collect-only", *ON_RTX3060)

    assert pytest.ExitCode.OK == run.result.ret
    assert not (run.folder / "report.json").exists()


def test_the_plugin_can_be_switched_off(pytester: pytest.Pytester) -> None:
    """Without the plugin pytest knows neither its options nor its fixture."""
    pytester.makepyfile("def test_a(vram): pass")

    without = run_in(pytester, "-p", "no:vramguard")
    with_its_option = run_in(pytester, "-p", "no:vramguard", "--vram-target", "rtx3060")

    assert {"errors": 1} == without.result.parseoutcomes()
    assert "fixture 'vram' not found" in without.text
    assert pytest.ExitCode.USAGE_ERROR == with_its_option.result.ret
