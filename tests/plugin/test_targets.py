"""Several targets make several tests of one; one target leaves the names of the tests alone."""

from __future__ import annotations

import pytest

from tests.plugin.projects import run_in

pytestmark = pytest.mark.stack

MODULE = """
import pytest
from unittest import TestCase


@pytest.mark.vram
def test_marked():
    pass


def test_measuring(vram):
    pass


@pytest.mark.vram
@pytest.mark.parametrize("length", [512, 1024])
def test_parametrised(length):
    pass


def test_plain():
    pass
"""


def collected(pytester: pytest.Pytester, *arguments: str) -> list[str]:
    """Return the names of the tests that pytest collects."""
    pytester.makepyfile(test_targets=MODULE)
    run = run_in(pytester, "--collect-only", "-q", "--vram-device", "emulated", *arguments)
    return [line.partition("::")[2] for line in run.result.outlines if "::" in line]


def test_one_target_leaves_the_names_alone(pytester: pytest.Pytester) -> None:
    """With one target the tests have the names that they have without the plugin."""
    expected = ["test_marked", "test_measuring", "test_parametrised[512]", "test_parametrised[1024]", "test_plain"]

    assert expected == collected(pytester, "--vram-target", "rtx3060")


def test_several_targets_parametrise_cases_alone(pytester: pytest.Pytester) -> None:
    """With several targets each case runs once a target, beside its own parameters, and other tests once."""
    expected = [
        "test_marked[rtx3060]",
        "test_marked[t4]",
        "test_measuring[rtx3060]",
        "test_measuring[t4]",
        "test_parametrised[rtx3060-512]",
        "test_parametrised[rtx3060-1024]",
        "test_parametrised[t4-512]",
        "test_parametrised[t4-1024]",
        "test_plain",
    ]

    assert sorted(expected) == sorted(collected(pytester, "--vram-target", "rtx3060,t4"))


def test_the_header_says_what_is_judged_on_what(pytester: pytest.Pytester) -> None:
    """The header names each target with its usable memory, and the kind of device."""
    run = run_in(pytester, "--vram-target", "rtx3060,t4", "--vram-device", "emulated")

    run.result.stdout.fnmatch_lines(
        "vramguard: target rtx3060 (11.* GiB usable), t4 (14.* GiB usable); device emulated (no kernel runs, memory is counted)"
    )


def test_the_header_says_nothing_where_there_is_no_target(pytester: pytest.Pytester) -> None:
    """A project without vram tests sees no line of this plugin."""
    run = run_in(pytester)

    assert "vramguard: " not in run.text


def test_a_test_that_cannot_be_parametrised_takes_one_target_only(pytester: pytest.Pytester) -> None:
    """Pytest does not parametrise tests of unittest, so several targets are refused instead of all but the first dropped."""
    pytester.makepyfile(
        test_old="""
        import pytest
        from unittest import TestCase


        @pytest.mark.vram
        class TestOfUnittest(TestCase):
            def test_a(self):
                pass

            def test_b(self):
                pass
        """
    )

    run = run_in(pytester, "--vram-target", "rtx3060,t4", "--vram-device", "emulated")

    assert run.is_clean_usage_error
    assert [
        "test_old.py::TestOfUnittest::test_a and 1 more: "
        "targets rtx3060, t4: expected one, since pytest runs a test of this kind only once"
    ] == run.usage_errors
