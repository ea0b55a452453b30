"""JUnit reports record a failed gate as a failure, in the form that their schema allows."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.plugin.projects import HOLD, ON_RTX3060, Run, run_once

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

pytestmark = pytest.mark.stack

MODULE = (
    HOLD
    + """
pytestmark = pytest.mark.vram(max_gb=0.5)


def test_fits():
    hold(2**20)


def test_too_large():
    hold(2**30)


@pytest.mark.xfail
def test_expected_to_be_too_large():
    hold(2**30)


@pytest.mark.xfail
def test_refused():
    ask_too_much()
"""
)
CHILDREN_OF_A_TESTCASE = {"failure", "error", "skipped", "system-out", "system-err"}
"""What the schema of the Jenkins xUnit plugin, against which pytest tests itself, allows below a test case."""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Element:
    """The test suite of one run, parsed."""
    run: Run = run_once(tmp_path_factory.mktemp("junit"), {"test_junit.py": MODULE}, "--junit-xml", "junit.xml", *ON_RTX3060)
    found = ET.parse(run.folder / "junit.xml").find("testsuite")  # noqa: S314 - our own file
    assert found is not None
    return found


def test_a_failed_gate_is_a_failure_and_no_error(suite: Element) -> None:
    """The suite counts the test above its limit and the one that was not judged as failures, the expected one as skipped."""
    assert ("4", "2", "0", "1") == tuple(suite.get(name) for name in ("tests", "failures", "errors", "skipped"))


@pytest.mark.parametrize(("name", "begin"), [("test_too_large", "FAIL"), ("test_refused", "UNJUDGED")])
def test_the_failure_holds_the_text_of_the_gate(suite: Element, name: str, begin: str) -> None:
    """The body of the failure is what the terminal shows."""
    failure = suite.find(f"testcase[@name='{name}']/failure")

    assert failure is not None
    assert (failure.text or "").startswith(f"{begin}: test_junit.py::{name} on rtx3060 (emulated)\n")


def test_a_testcase_has_no_children_that_the_schema_forbids(suite: Element) -> None:
    """Results travel beside the JUnit report, and not as properties of test cases, which its schema rejects."""
    assert {child.tag for child in suite.iterfind("testcase/*")} <= CHILDREN_OF_A_TESTCASE
