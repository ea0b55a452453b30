"""Wrong markers: every fault of a run is told at once, located by test, before any test runs."""

from __future__ import annotations

import pytest

from pytest_vramguard.settings import MARKER_KEYS
from tests.plugin.projects import run_in

MARKERS = {
    "max_bg=12": (f"max_bg: unknown key, expected one of {', '.join(MARKER_KEYS)}; did you mean 'max_gb'?"),
    "max_gb=0": "max_gb: got 0 (int), expected a number above 0",
    "max_gb=-1": "max_gb: got -1 (int), expected a number above 0",
    'max_gb="12"': "max_gb: got '12' (str), expected a number above 0",
    "max_gb=True": "max_gb: got True (bool), expected a number above 0",
    'max_gb=float("nan")': "max_gb: got nan (float), expected a number above 0",
    "band=(-0.1, 0.9)": "band: got (-0.1, 0.9), expected (low, high) with 0 <= low < high <= 1, as in (0.7, 0.9)",
    "band=(0.9, 0.7)": "band: got (0.9, 0.7), expected (low, high) with 0 <= low < high <= 1, as in (0.7, 0.9)",
    "band=(70, 90)": "band: got (70, 90), expected (low, high) with 0 <= low < high <= 1, as in (0.7, 0.9)",
    "band=(0.7,)": "band: got (0.7,) (tuple), expected a list of 2 numbers",
    "band=0.7": "band: got 0.7 (float), expected a list of 2 numbers",
    "steps=0": "steps: got 0 (int), expected an integer of at least 1",
    "steps=1.5": "steps: got 1.5 (float), expected an integer of at least 1",
    "warmup=-1": "warmup: got -1 (int), expected an integer of at least 0",
    "target=4": "target: got 4 (int), expected a list of strings",
}
"""What is written in the marker, and what is said of it."""


def test_every_wrong_marker_is_a_usage_error(pytester: pytest.Pytester) -> None:
    """One run tells of every faulty test, in the order of the tests, and runs none."""
    tests = [f"@pytest.mark.vram({arguments})\ndef test_{number}(): pass\n" for number, arguments in enumerate(MARKERS)]
    pytester.makepyfile(test_a="\n".join(["import pytest", "def test_plain(): pass", *tests]))
    expected = [f"test_a.py::test_{number}: marker vram: {message}" for number, message in enumerate(MARKERS.values())]

    run = run_in(pytester)

    assert run.is_clean_usage_error
    assert expected == run.usage_errors


def test_a_positional_argument_is_a_usage_error(pytester: pytest.Pytester) -> None:
    """The marker takes keywords alone, and the message lists them."""
    pytester.makepyfile(test_a="import pytest\n@pytest.mark.vram(12)\ndef test_case(): pass")

    run = run_in(pytester)

    assert run.is_clean_usage_error
    assert [
        f"test_a.py::test_case: marker vram: got the positional argument 12, expected keywords: {', '.join(MARKER_KEYS)}"
    ] == run.usage_errors


def test_tests_that_share_a_fault_share_a_message(pytester: pytest.Pytester) -> None:
    """A fault of a class or a module is told once, with the first test and the number of others."""
    pytester.makepyfile(
        test_a="""
        import pytest

        pytestmark = pytest.mark.vram(steps=0)

        @pytest.mark.parametrize("number", range(3))
        def test_case(number):
            pass
        """
    )

    run = run_in(pytester)

    assert [
        "test_a.py::test_case[0] and 2 more: marker vram: steps: got 0 (int), expected an integer of at least 1"
    ] == run.usage_errors


@pytest.mark.stack
def test_an_unknown_target_is_told_of_its_test_alone(pytester: pytest.Pytester) -> None:
    """A card that is not in the catalogue is the fault of the marker that names it, and of no other."""
    pytester.makepyfile(
        test_a="""
        import pytest

        @pytest.mark.vram(target="rtx306")
        def test_wrong():
            pass

        @pytest.mark.vram(target="rtx3060")
        def test_right():
            pass
        """
    )

    run = run_in(pytester, "--vram-device", "emulated")

    assert run.is_clean_usage_error
    assert 1 == len(run.usage_errors)
    assert run.usage_errors[0].startswith("test_a.py::test_wrong: card 'rtx306': not in the catalogue, expected one of ")
    assert run.usage_errors[0].endswith("; did you mean 'rtx3060'?")
