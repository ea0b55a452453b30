"""Under pytest-xdist the workers measure, and the controller gathers, prints and writes once."""

from __future__ import annotations

import pytest

from pytest_vramguard.settings import MARKER_KEYS
from tests.plugin.projects import HOLD, ON_RTX3060, Run, run_in, run_once

pytest.importorskip("xdist")

MODULE = (
    HOLD
    + """
@pytest.mark.vram(max_gb=0.5)
@pytest.mark.parametrize("size_bytes", [2**20, 2**30, 2**21, 2**31])
def test_sizes(size_bytes):
    hold(size_bytes)


@pytest.mark.vram
@pytest.mark.xfail
def test_refused():
    ask_too_much()


def test_plain():
    pass
"""
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run with two workers."""
    return run_once(tmp_path_factory.mktemp("xdist"), {"test_xdist.py": MODULE}, "-n", "2", "-rA", *ON_RTX3060)


@pytest.mark.stack
def test_the_outcomes_are_those_of_one_process(run: Run) -> None:
    """Gates fail and what could not be judged is red, whichever worker ran it."""
    expected = {
        "test_sizes[1048576]": "PASSED",
        "test_sizes[1073741824]": "FAILED",
        "test_sizes[2097152]": "PASSED",
        "test_sizes[2147483648]": "FAILED",
        "test_refused": "FAILED",
        "test_plain": "PASSED",
    }

    assert expected == run.outcomes
    assert pytest.ExitCode.TESTS_FAILED == run.result.ret


@pytest.mark.stack
def test_the_report_holds_every_case_once(run: Run) -> None:
    """The cases of both workers are in the one report."""
    expected = {
        "test_xdist.py::test_sizes[1048576]": ("PASS", 2**20),
        "test_xdist.py::test_sizes[1073741824]": ("FAIL", 2**30),
        "test_xdist.py::test_sizes[2097152]": ("PASS", 2**21),
        "test_xdist.py::test_sizes[2147483648]": ("FAIL", 2**31),
        "test_xdist.py::test_refused": ("UNJUDGED", None),
    }
    cases = run.report["cases"]

    assert expected == {case["id"]: (case["outcome"], case["reading"].get("peak_allocated_bytes")) for case in cases}
    assert len(expected) == len(cases)


@pytest.mark.stack
def test_the_table_is_printed_once(run: Run) -> None:
    """One header and one table, whatever the number of workers."""
    assert 1 == run.text.count("vramguard: target rtx3060 ")
    assert 1 == sum("outcome" in line and "ran on" in line for line in run.result.outlines)


def test_a_wrong_marker_is_a_usage_error(pytester: pytest.Pytester) -> None:
    """A worker cannot refuse to run, so the faulty tests say what is wrong, and no other test runs."""
    pytester.makepyfile(
        test_faulty="""
        import pytest

        @pytest.mark.vram(max_bg=1)
        def test_faulty():
            pass

        def test_plain():
            pass
        """
    )

    run = run_in(pytester, "-n", "2")

    assert run.is_clean_usage_error
    assert (
        f"test_faulty.py::test_faulty: marker vram: max_bg: unknown key, expected one of {', '.join(MARKER_KEYS)}; "
        "did you mean 'max_gb'?"
    ) in run.result.outlines


def test_a_case_without_a_target_is_a_usage_error(pytester: pytest.Pytester) -> None:
    """The status of a usage error reaches the controller."""
    pytester.makepyfile(test_a="import pytest\n@pytest.mark.vram\ndef test_a(): pass")

    run = run_in(pytester, "-n", "2")

    assert run.is_clean_usage_error
    assert "test_a.py::test_a: no target card, expected one; name it: pytest --vram-target rtx3060" in run.result.outlines
