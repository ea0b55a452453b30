"""How many rounds a comparison takes, and how often it is right about step times that vary as published ones do."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field, replace
from math import exp, log
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_vramguard.cards import load_catalogue
from pytest_vramguard.compare.rounds import Referee, compare
from pytest_vramguard.errors import ComparisonError
from pytest_vramguard.gates import SlowdownGate
from pytest_vramguard.reading import Parts
from pytest_vramguard.settings import LIMIT_KEYS, wishes_of_mapping
from pytest_vramguard.statistics import FEWEST_PAIRS, MOST_ROUNDS
from pytest_vramguard.verdict import Outcome, Verdict
from tests import samples

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_vramguard.compare.rounds import Side
    from pytest_vramguard.reading import Measurement, Reading
    from pytest_vramguard.report import CaseResult, Report
    from pytest_vramguard.side_by_side import ComparedCommits

REAL: Final = samples.device(kind="cuda")
CATALOGUE: Final = load_catalogue(())
RUN_SPREAD: Final = 0.003
"""Standard deviation of runs of one job. Source: fast_mail_parser, pull request 128: 0.3 % within a job."""
JOB_SPREAD: Final = 0.26
"""Jobs on hosted runners that ran the same code were so far apart at most. Source: the same."""
CARD_SPREAD: Final = 0.08
"""Equal cards are so far apart. Source: arXiv 2208.11035."""
STEP_SPREAD: Final = 0.01
"""Of the steps of a run, which their median mostly removes; larger than what a training loop on a card of its own shows."""


@dataclass(kw_only=True)
class Played:
    """Runs nothing: gives the reports of a script, and notes what was asked for."""

    script: Any
    """Takes side and round, and returns the cases."""
    order: list[str] = field(default_factory=list)

    def __call__(self, side: Side, number: int) -> Report:
        """Return the report of a side in a round."""
        self.order.append(side)
        return samples.report(*self.script(side, number))


def compared(
    script: Any, *, most_rounds: int = MOST_ROUNDS, asked: Mapping[str, str] = MappingProxyType({})
) -> tuple[ComparedCommits, Played]:
    """Compare what `script` returns under the limits that the command line asks for."""
    wishes = wishes_of_mapping(asked, "command line: --", LIMIT_KEYS, Path())
    played = Played(script=script)
    return compare(played, Referee(wishes=wishes, catalogue=CATALOGUE, root=Path()), most_rounds), played


def steady(base: float, head: float, **fields: Any) -> Any:
    """Return a script of one case on a real card whose steps take so many seconds on each side."""
    seconds = {"base": base, "head": head}
    return lambda side, _number: [samples.case(device=REAL, reading=samples.timed(seconds[side]), **fields)]


def sized(base_bytes: int, head_bytes: int, **fields: Any) -> Any:
    """Return a script of one case on an emulated card that peaks at so many bytes on each side."""
    peaks = {"base": base_bytes, "head": head_bytes}
    return lambda side, _number: [samples.case(reading=allocated(peaks[side]), **fields)]


def allocated(peak_bytes: int) -> Measurement:
    """Return a measurement of that peak."""
    return samples.measurement(peak_allocated_bytes=peak_bytes, parts=Parts(weights_bytes=peak_bytes), phases=())


def read(base: Reading, head: Reading) -> Any:
    """Return a script of one case with these readings."""
    return lambda side, _number: [samples.case(reading={"base": base, "head": head}[side])]


def verdicts(found: ComparedCommits) -> dict[str, Verdict]:
    """Return the verdicts on the only case by their gate."""
    (case,) = found.cases
    return {verdict.gate: verdict for verdict in case.now.verdicts}


def test_an_emulated_card_takes_one_round() -> None:
    """Memory repeats to the byte; growth is judged, and step time is said not to be."""
    found, played = compared(sized(1000, 1011))

    assert ["base", "head"] == played.order
    assert {"growth": Outcome.FAIL, "slowdown": Outcome.UNJUDGED} == {
        name: verdict.outcome for name, verdict in verdicts(found).items()
    }
    assert not verdicts(found)["slowdown"].is_red


@pytest.mark.parametrize(("head_bytes", "outcome"), [(1010, Outcome.PASS), (1011, Outcome.FAIL)])
def test_growth_to_the_byte(head_bytes: int, outcome: Outcome) -> None:
    """The former commit's peak is the baseline; by default 1 % more is allowed."""
    found, _ = compared(sized(1000, head_bytes))

    assert outcome is verdicts(found)["growth"].outcome


@pytest.mark.parametrize(
    ("limits", "asked", "limit"),
    [
        ((), {}, 1010),
        ((("max_growth", "allocated=5%"),), {}, 1050),
        ((("max_growth", "allocated=5%"),), {"max_growth": "7%"}, 1070),
    ],
)
def test_the_command_line_is_stronger_than_the_marker(
    limits: tuple[tuple[str, str], ...], asked: dict[str, str], limit: int
) -> None:
    """Limits come from the command line, then from the test in the newer commit, then from the defaults."""
    found, _ = compared(sized(1000, 1000, limits=limits), asked=asked)

    assert limit == verdicts(found)["growth"].limit


@pytest.mark.parametrize(("head", "outcome"), [(1.0, Outcome.PASS), (1.2, Outcome.FAIL)])
def test_what_is_clear_takes_few_rounds(head: float, outcome: Outcome) -> None:
    """On a real card both sides take turns, A B B A, until an interval exists that decides."""
    found, played = compared(steady(1.0, head))

    assert (outcome, FEWEST_PAIRS) == (verdicts(found)["slowdown"].outcome, found.round_count)
    assert ["base", "head", "head", "base"] * (FEWEST_PAIRS // 2) == played.order


@pytest.mark.parametrize(("most_rounds", "round_count"), [(16, 16), (8, 8), (20, 20)])
def test_doubt_takes_all_rounds(most_rounds: int, round_count: int) -> None:
    """An interval that holds the limit has as many rounds added as are allowed, and then is inconclusive."""

    def doubtful(side: str, number: int) -> list[CaseResult]:
        seconds = 1.1 if side == "head" and number % 2 else 1.0
        return [samples.case(device=REAL, reading=samples.timed(seconds))]

    found, _ = compared(doubtful, most_rounds=most_rounds)

    assert round_count == found.round_count
    assert verdicts(found)["slowdown"].is_red
    assert verdicts(found)["slowdown"].reason.startswith("inconclusive: ")


def test_a_case_without_steps_has_no_step_time_to_judge() -> None:
    """On a real card its step time is judged only if that is asked for, and is UNJUDGED then."""
    script = steady(1.0, 1.0)

    def stepless(side: str, number: int) -> list[CaseResult]:
        (case,) = script(side, number)
        return [replace(case, reading=samples.measurement(step_count=0))]

    assert {"growth"} == set(verdicts(compared(stepless)[0]))
    assert verdicts(compared(stepless, asked={"max_slowdown": "5%"})[0])["slowdown"].is_red


def test_a_former_commit_that_was_full_takes_one_round() -> None:
    """Where there is no former step time, on a real card either, more rounds make none."""
    readings = {"base": samples.out_of_memory(), "head": samples.timed(1.0)}

    found, played = compared(lambda side, _number: [samples.case(device=REAL, reading=readings[side])])

    assert 2 == len(played.order)
    assert ("the former commit ran out of memory", False) == (
        verdicts(found)["slowdown"].reason,
        verdicts(found)["slowdown"].is_red,
    )


def test_without_scipy_one_round_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds that nothing can judge are not run; growth is judged all the same, and the line that installs scipy is told."""
    monkeypatch.setitem(sys.modules, "scipy", None)

    found, played = compared(steady(1.0, 1.0))

    assert 2 == len(played.order)
    assert Outcome.PASS is verdicts(found)["growth"].outcome
    assert verdicts(found)["slowdown"].is_red
    assert verdicts(found)["slowdown"].reason.endswith("install it: pip install 'pytest-vramguard[stats]'")


def test_cases_of_one_commit_are_named() -> None:
    """What only one of the two has is not compared, and is told."""
    every = {"base": ["test_a", "test_gone"], "head": ["test_new", "test_a"]}

    found, _ = compared(lambda side, _number: [samples.case(id=name) for name in every[side]])

    assert (["test_a"], ("test_gone",), ("test_new",)) == (
        [case.now.id for case in found.cases],
        found.only_before,
        found.only_now,
    )


def test_nothing_in_common() -> None:
    """Two runs without a case in common are no comparison."""
    with pytest.raises(ComparisonError) as caught:
        compared(lambda side, _number: [samples.case(id=side)])

    assert (
        "no vram test in both commits, expected at least one: got 1 in the former and 1 in the newer; "
        "check the arguments behind --"
    ) == str(caught.value)


@pytest.mark.parametrize(
    ("base", "head", "outcome", "red", "reason"),
    [
        (
            samples.measurement(),
            samples.out_of_memory(),
            Outcome.FAIL,
            True,
            "out of memory in phase 'load', with 6.44",
        ),
        (samples.out_of_memory(), samples.measurement(), Outcome.UNJUDGED, False, "the former commit ran out of memory"),
        (samples.out_of_memory(), samples.out_of_memory(), Outcome.UNJUDGED, False, "out of memory, as before"),
        (samples.not_measured("x"), samples.measurement(), Outcome.UNJUDGED, True, "the former commit was not measured: x"),
        (samples.measurement(), samples.not_measured("x"), Outcome.UNJUDGED, True, "x"),
    ],
)
def test_what_has_no_peak(base: Reading, head: Reading, outcome: Outcome, red: bool, reason: str) -> None:  # noqa: FBT001
    """A card that is full now fails; one that was full is listed; what was not measured is red."""
    growth = verdicts(compared(read(base, head))[0])["growth"]

    assert (outcome, red) == (growth.outcome, growth.is_red)
    assert growth.reason.startswith(reason)


def simulated(chance: random.Random, slowdown: float, *, run_spread: float = RUN_SPREAD, drift: float = 0.01) -> Any:
    """Return a script of a case whose newer code takes longer by `slowdown`, on a card that also gets slower by `drift`."""
    job = 0.2 * exp(chance.uniform(0, log(1 + JOB_SPREAD)) + chance.uniform(0, log(1 + CARD_SPREAD)))
    case = samples.case(device=REAL)
    time = iter(range(2 * MOST_ROUNDS))

    def script(side: str, _number: int) -> list[CaseResult]:
        run = job * (1 + slowdown * (side == "head")) * exp(chance.gauss(0, run_spread) + drift * next(time) / MOST_ROUNDS)
        return [replace(case, reading=samples.timed(*(run * exp(abs(chance.gauss(0, STEP_SPREAD))) for _ in range(5))))]

    return script


def outcomes(slowdown: float, *, count: int = 200, seed: int = 5, **conditions: float) -> list[Outcome]:
    """Return what so many comparisons of such cases say, with a limit of 5 %."""
    chance = random.Random(seed)  # noqa: S311 (no secret)
    scripts = (simulated(chance, slowdown, **conditions) for _ in range(count))
    return [verdicts(compared(script)[0])["slowdown"].outcome for script in scripts]


def test_a_slowdown_of_a_tenth_is_found() -> None:
    """With the published spreads of runs, jobs and cards, at least 95 % of comparisons find that steps take 10 % longer."""
    assert outcomes(0.10).count(Outcome.FAIL) >= 190


def test_no_change_is_no_alarm() -> None:
    """With the same spreads at most 1 % of comparisons of equal code fail, and at least 95 % pass."""
    found = outcomes(0.0)

    assert found.count(Outcome.FAIL) <= 2
    assert found.count(Outcome.PASS) >= 190


def test_a_restless_machine_is_found_out_too() -> None:
    """If runs of a job vary by 2 %, seven times as much as published, a tenth is found as often, and there is no more alarm."""
    assert outcomes(0.10, run_spread=0.02, drift=0.05).count(Outcome.FAIL) >= 190
    assert outcomes(0.0, run_spread=0.02, drift=0.05).count(Outcome.FAIL) <= 2


def test_what_lies_on_the_limit_is_seldom_called_a_failure() -> None:
    """Code that is slower by exactly the limit fails in at most 1 % of comparisons, however restless the machine."""
    assert outcomes(0.05, count=400, run_spread=0.02, drift=0.0).count(Outcome.FAIL) <= 4


def other_job(chance: random.Random, slowdown: float) -> Outcome:
    """Return what the gate says of a baseline of another job on another card, with a limit of 10 %."""
    before, now = (simulated(chance, 0.0 if side == "base" else slowdown)(side, 0)[0].reading for side in ("base", "head"))
    environment = samples.case(device=REAL).environment
    gate = SlowdownGate(
        max_slowdown=0.1,
        former=samples.baseline(measurement=before, environment=environment),
        environment=environment,
        job_spread=JOB_SPREAD,
    )
    return gate.judge(now, samples.card()).outcome


@pytest.mark.parametrize(
    ("slowdown", "least", "most"),
    [(0.0, 0, 0), (0.1, 0, 2), (1.0, 190, 200)],
)
def test_a_baseline_of_another_job_finds_what_is_large(slowdown: float, least: int, most: int) -> None:
    """Of 200 it never alarms about equal code, finds twice the time, and cannot find a tenth: hence the comparison in turn."""
    chance = random.Random(7)  # noqa: S311 (no secret)

    found = [other_job(chance, slowdown) for _ in range(200)].count(Outcome.FAIL)

    assert least <= found <= most
