"""Only clean measurements that passed become baselines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_vramguard.baselines import BaselineStore, accept
from pytest_vramguard.baselines.accept import refusal
from pytest_vramguard.errors import BaselineError
from pytest_vramguard.units import MIB
from pytest_vramguard.verdict import Outcome
from tests import samples

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_vramguard.report import CaseResult

TOOL = "pytest-vramguard 0.1.0"


@pytest.fixture
def store(tmp_path: Path) -> BaselineStore:
    """Return an empty store."""
    return BaselineStore(folder=tmp_path)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (samples.case(reading=samples.not_measured("no card")), "not measured: no card"),
        (samples.case(reading=samples.out_of_memory()), "out of memory in phase 'load'"),
        (samples.case(verdicts=()), "no gate judged it"),
        (samples.case(verdicts=(samples.verdict(gate="growth"),)), "no gate judged it"),
        (samples.case(verdicts=(samples.verdict(outcome=Outcome.FAIL, reason="too much"),)), "fit FAIL: too much"),
        (
            samples.case(verdicts=(samples.verdict(), samples.band_verdict(outcome=Outcome.UNJUDGED, reason="who knows"))),
            "band UNJUDGED: who knows",
        ),
        (
            samples.case(reading=samples.measurement(leftover_bytes=MIB, leftover_from="test_a")),
            "1.0 MiB left behind by test_a; free it there, or run this test alone",
        ),
        (
            samples.case(reading=samples.measurement(allocator_retries=2)),
            "the allocator gave back cached memory 2 times to go on; leave more room",
        ),
        (
            samples.case(reading=samples.measurement(out_of_memory_count=1)),
            "the code caught 1 out-of-memory errors and went on; leave more room",
        ),
    ],
)
def test_what_is_not_clean_is_refused(store: BaselineStore, case: CaseResult, reason: str) -> None:
    """A failing, unjudged or doubtful case is refused with the reason, and leaves the old baseline."""
    store.put(samples.baseline())

    (acceptance,) = accept([case], store, tool=TOOL)

    assert (reason, None) == (acceptance.refusal, acceptance.baseline)
    assert samples.baseline() == store.read(store.paths()[0])


@pytest.mark.parametrize("gate", ["growth", "shrink"])
@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.UNJUDGED])
def test_what_differs_from_the_old_baseline_may_replace_it(gate: str, outcome: Outcome) -> None:
    """A verdict that compares with the former baseline is no reason against a new one."""
    case = samples.case(verdicts=(samples.verdict(), samples.verdict(gate=gate, outcome=outcome)))

    assert refusal(case) is None


def test_the_first_baseline(store: BaselineStore) -> None:
    """A clean case becomes a baseline with its environment."""
    case = samples.case(conditions=(("allocator", "expandable_segments:True"), ("recipe", "12ab")))

    (acceptance,) = accept([case], store, tool=TOOL)

    assert (None, None) == (acceptance.refusal, acceptance.former)
    assert acceptance.baseline == store.find(case.id, case.target, "emulated")
    assert {
        "device": "emulated",
        "gpu": "NVIDIA GeForce RTX 3060",
        "driver": "580.65.06",
        "torch": "2.14.1",
        "cuda": "13.0",
        "allocator": "expandable_segments:True",
        "recipe": "12ab",
    } == dict(acceptance.baseline.environment if acceptance.baseline else ())


def test_an_equal_baseline_is_left_alone(store: BaselineStore) -> None:
    """A file whose numbers would be the same is not touched, so that a new version of the tool makes no diff."""
    path = store.put(samples.baseline(tool="pytest-vramguard 0.0.9"))
    before = path.stat().st_mtime_ns, path.read_text(encoding="utf-8")

    accept([samples.case()], store, tool=TOOL)

    assert before == (path.stat().st_mtime_ns, path.read_text(encoding="utf-8"))


def test_a_replaced_baseline_shows_both(store: BaselineStore) -> None:
    """What was there before is told beside what is there now."""
    store.put(samples.baseline())
    grown = samples.measurement(peak_reserved_bytes=6 * 2**30)

    (acceptance,) = accept([samples.case(reading=grown)], store, tool=TOOL)

    assert acceptance.comparison is not None
    assert (samples.baseline(), grown) == (acceptance.comparison.baseline, acceptance.comparison.measurement)
    assert samples.baseline(measurement=grown) == store.read(store.paths()[0])


@pytest.mark.parametrize("text", ["", "{", '{"schema": 2}'])
def test_a_faulty_baseline_is_not_overwritten(store: BaselineStore, text: str) -> None:
    """A file that this version cannot read is kept, and no other case of the run is accepted either: nothing is lost."""
    path = store.put(samples.baseline())
    path.write_text(text, encoding="utf-8")
    other = replace(samples.case(), id="test_other.py::test_other")

    with pytest.raises(BaselineError):
        accept([other, samples.case()], store, tool=TOOL)

    assert (path,) == store.paths()
    assert text == path.read_text(encoding="utf-8")
