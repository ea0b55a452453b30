"""What makes a test a case, and what its body can do with the fixture."""

from __future__ import annotations

import pytest

from pytest_vramguard.units import GIB, MIB
from tests.plugin.projects import EMULATED, HOLD, Run, run_in, run_once

PYPROJECT = """
[tool.vramguard]
target = "rtx3060"
"""
BY_TEST = (
    HOLD
    + """
from unittest import TestCase


def test_neither_marked_nor_measuring():
    hold(2**20)


@pytest.mark.vram
def test_marked():
    hold(2**20)


def test_measuring(vram):
    hold(2**20)


@pytest.mark.vram(max_gb=0.5)
class TestMarked:
    def test_of_a_class(self):
        hold(2**20)

    @pytest.mark.vram(band=(0.0, 0.5))
    def test_with_a_marker_of_its_own(self):
        hold(2**20)

    @pytest.mark.vram(max_gb=1)
    def test_with_another_limit(self):
        hold(2**20)


class TestOfUnittest(TestCase):
    @pytest.mark.vram(max_gb=0.5)
    def test_marked(self):
        hold(2**30)


@pytest.mark.vram(target="t4")
def test_target_of_its_own(vram):
    assert (vram.card.key, vram.device) == ("t4", "emulated")
    assert torch.cuda.get_device_properties(0).total_memory == vram.card.usable_bytes


@pytest.mark.vram(target=["t4", "rtx4090"])
def test_targets_of_its_own(vram):
    assert torch.cuda.get_device_properties(0).total_memory == vram.card.usable_bytes


@pytest.fixture
def model():
    return hold(2**22)


@pytest.mark.vram
def test_fixtures_count(model):
    pass


def test_phases(vram):
    with vram.phase("load"):
        held = hold(2**22)
    for _ in range(3):
        with vram.step(tokens=8):
            hold(2**21)
"""
)
BY_MODULE = (
    HOLD
    + """
pytestmark = pytest.mark.vram(max_gb=0.5)


def test_of_a_module():
    hold(2**30)
"""
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of tests that are marked in all ways, with a target from pyproject.toml."""
    files = {"pyproject.toml": PYPROJECT, "test_by_test.py": BY_TEST, "test_by_module.py": BY_MODULE}
    return run_once(tmp_path_factory.mktemp("cases"), files, "-rA", *EMULATED)


@pytest.mark.stack
def test_marker_and_fixture_make_a_case(run: Run) -> None:
    """A case is a test with the marker, wherever that stands, or with the fixture, and no other."""
    assert {
        "test_marked",
        "test_measuring",
        "TestMarked::test_of_a_class",
        "TestMarked::test_with_a_marker_of_its_own",
        "TestMarked::test_with_another_limit",
        "TestOfUnittest::test_marked",
        "test_target_of_its_own",
        "test_targets_of_its_own[t4]",
        "test_targets_of_its_own[rtx4090]",
        "test_fixtures_count",
        "test_phases",
        "test_of_a_module",
    } == set(run.cases)


@pytest.mark.stack
def test_limits_of_markers_are_judged(run: Run) -> None:
    """All tests pass but the two that are above the limit of their marker."""
    failed = [name for name, outcome in run.outcomes.items() if outcome != "PASSED"]

    assert ["TestOfUnittest::test_marked", "test_of_a_module"] == sorted(failed)
    assert sorted(failed) == sorted(name for name, outcome in run.verdicts.items() if outcome != "PASS")


@pytest.mark.stack
@pytest.mark.parametrize("name", ["test_marked", "test_measuring"])
def test_the_test_is_measured_as_a_whole(run: Run, name: str) -> None:
    """Without any phase the peak is that of the test, to the byte."""
    reading = run.cases[name]["reading"]

    assert MIB == reading["peak_allocated_bytes"]
    assert MIB == sum(reading["parts"].values())


@pytest.mark.stack
def test_fixtures_are_measured(run: Run) -> None:
    """A case begins before the fixtures of its test are set up."""
    assert 4 * MIB == run.cases["test_fixtures_count"]["reading"]["peak_allocated_bytes"]


@pytest.mark.stack
def test_a_marker_does_not_switch_off_the_one_above_it(run: Run) -> None:
    """What a marker leaves open is taken from the marker of the class."""
    verdicts = run.cases["TestMarked::test_with_a_marker_of_its_own"]["verdicts"]

    assert [("fit", GIB // 2), ("band", [0.0, 0.5])] == [(verdict["gate"], verdict["limit"]) for verdict in verdicts]


@pytest.mark.stack
def test_the_nearest_marker_is_the_strongest(run: Run) -> None:
    """A limit on the test counts, and not the one on its class."""
    assert [GIB] == [verdict["limit"] for verdict in run.cases["TestMarked::test_with_another_limit"]["verdicts"]]


@pytest.mark.stack
@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("test_marked", "rtx3060"),
        ("test_target_of_its_own", "t4"),
        ("test_targets_of_its_own[t4]", "t4"),
        ("test_targets_of_its_own[rtx4090]", "rtx4090"),
    ],
)
def test_a_case_runs_on_the_target_of_its_marker(run: Run, name: str, target: str) -> None:
    """The target of a marker is in place for its test alone, in a process that serves several."""
    assert "PASSED" == run.outcomes[name]
    assert target == run.cases[name]["target"]


@pytest.mark.stack
def test_phases_are_reported(run: Run) -> None:
    """Phases and steps of the body have peaks of their own, and the first step stands apart."""
    reading = run.cases["test_phases"]["reading"]

    assert {"load": 4 * MIB, "first step": 6 * MIB, "steady": 6 * MIB} == {
        name: phase["peak_allocated_bytes"] for name, phase in reading["phases"].items()
    }
    assert (3, []) == (reading["step_count"], reading["step_seconds"])


def test_the_fixture_cannot_be_had_later(pytester: pytest.Pytester) -> None:
    """A test that asks for the fixture while it runs was not a case, and says so instead of measuring nothing."""
    pytester.makepyfile("def test_late(request): request.getfixturevalue('vram')")

    run = run_in(pytester)

    assert run.is_clean_usage_error
    assert ["vram: asked for while the test ran, expected among its arguments; add the argument vram"] == run.failure_of(
        "test_late"
    )
