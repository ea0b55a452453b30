"""Two commits side by side, compared as a whole text."""

from __future__ import annotations

from pathlib import Path

from pytest_vramguard.reading import Parts
from pytest_vramguard.render.comparison import render
from pytest_vramguard.side_by_side import ComparedCase, ComparedCommits
from pytest_vramguard.units import GIB
from pytest_vramguard.verdict import Outcome, Verdict
from tests import samples

GOLD = Path(__file__).parents[2] / "gold"

UNJUDGED = Verdict(
    gate="slowdown",
    metric="longer step time",
    outcome=Outcome.UNJUDGED,
    observed=None,
    limit=0.05,
    unit="share",
    reason="there is no step time on an emulated card",
    required=False,
)
SLOWER = samples.verdict(
    gate="slowdown",
    metric="longer step time",
    outcome=Outcome.FAIL,
    observed=0.1234,
    limit=0.05,
    unit="share",
    reason="interval of 99% from +11.0 % to +13.0 % (8 rounds in turn) lies beyond the limit",
)
PASSED = samples.verdict(gate="growth", metric="peak allocated bytes")


def compared() -> ComparedCommits:
    """Return a case of each kind: as it was, slower on a real card, and without a former peak."""
    parts = Parts(weights_bytes=20 * GIB)
    real = samples.case(
        id="test_a.py::test_b",
        device=samples.device(kind="cuda"),
        reading=samples.measurement(peak_allocated_bytes=20 * GIB - 512, parts=parts, phases=()),
        verdicts=(PASSED, SLOWER),
    )
    grown = samples.measurement(peak_allocated_bytes=20 * GIB, parts=parts, phases=())
    return ComparedCommits(
        cases=(
            ComparedCase(before=samples.case(), now=samples.case(verdicts=(PASSED, UNJUDGED))),
            ComparedCase(before=samples.case(reading=grown), now=real),
            ComparedCase(
                before=samples.case(reading=samples.out_of_memory()),
                now=samples.case(id="test_c.py::test_d", verdicts=(UNJUDGED,)),
            ),
        ),
        only_before=("test_a.py::test_gone",),
        only_now=("test_a.py::test_new",),
        round_count=8,
    )


def test_a_case_of_each_kind() -> None:
    """What is red is told first, then comes a row a case, then what could not be judged, once for all that share the reason."""
    expected = (GOLD / "comparison.txt").read_text(encoding="ascii")

    assert expected == render(compared(), "main (0123456789)", "HEAD (9876543210)")


def test_one_round() -> None:
    """Where one round was enough, the text says so."""
    found = ComparedCommits(cases=(), only_before=(), only_now=(), round_count=1)

    assert render(found, "a", "b").startswith("a -> b, 1 round\n")
