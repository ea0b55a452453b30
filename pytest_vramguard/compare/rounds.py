"""How often the two commits are run, and what the gates say of it.

Memory repeats to the byte, so a round is enough for it. Step times need rounds in turn (A B, B A, A B, ...), so that whatever
drifts meets both alike: `FEWEST_PAIRS` first, and, where an interval then holds its limit, as many as are allowed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from pytest_vramguard.allowance import parse_allowances
from pytest_vramguard.baseline import Baseline
from pytest_vramguard.errors import ComparisonError
from pytest_vramguard.gates import NoBaseline, PairedRuns
from pytest_vramguard.gates.slowdown import EMULATED
from pytest_vramguard.judgement import comparing_gates
from pytest_vramguard.reading import Measurement, NotMeasured, OutOfMemory
from pytest_vramguard.settings import LIMIT_KEYS, Wishes, resolve, wishes_of_mapping
from pytest_vramguard.side_by_side import ComparedCase, ComparedCommits
from pytest_vramguard.statistics import FEWEST_PAIRS, intervals_can_be_had
from pytest_vramguard.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pytest_vramguard.cards.catalogue import Catalogue
    from pytest_vramguard.gates.growth import Reference
    from pytest_vramguard.gates.slowdown import Former
    from pytest_vramguard.report import CaseResult, Report
    from pytest_vramguard.settings import Settings

Side: TypeAlias = Literal["base", "head"]
Measure: TypeAlias = "Callable[[Side, int], Report]"
"""Runs one side in the round of that number."""
Key: TypeAlias = tuple[str, str]
"""Node id and target of a case."""

ORDERS: Final[tuple[tuple[Side, Side], tuple[Side, Side]]] = (("base", "head"), ("head", "base"))
DEFAULTS: Final = Wishes(max_growth=parse_allowances("1%"), max_slowdown=0.05)
"""What is allowed where neither the command line nor the test says anything. What lies on a limit is not beyond it: 5 % finds a
step that takes 10 % longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Referee:
    """What the gates need besides the rounds."""

    wishes: Wishes
    """What the command line asks for."""
    catalogue: Catalogue
    """With the cards of the project."""
    root: Path
    """Where the project is checked out."""

    def settings_of(self, before: CaseResult, now: CaseResult) -> Settings:
        """Return the limits of a case: the command line is stronger than the test, and the test than `DEFAULTS`.

        By default the step times of a case without steps are not judged.
        """
        asked = wishes_of_mapping(dict(now.limits), f"{now.id}: limits", LIMIT_KEYS, self.root)
        stepped = now.device.kind == "emulated" or _has_steps(before) or _has_steps(now)
        return resolve(self.wishes, asked, DEFAULTS if stepped else replace(DEFAULTS, max_slowdown=None))


def compare(measure: Measure, referee: Referee, most_rounds: int) -> ComparedCommits:
    """Return what the gates say of as many rounds as they need, at most `most_rounds`.

    Raises:
        ComparisonError: no case is in both commits.
    """
    rounds = [_play(measure, 0)]
    compared = _judge(rounds, referee)
    for look in sorted({min(FEWEST_PAIRS, most_rounds), most_rounds}):
        if not _wants_rounds(compared):
            break
        rounds += [_play(measure, number) for number in range(len(rounds), look)]
        compared = _judge(rounds, referee)
    return compared


def _play(measure: Measure, number: int) -> tuple[Report, Report]:
    """Run both sides, the one first that was last in the round before."""
    reports = {side: measure(side, number) for side in ORDERS[number % 2]}
    return reports["base"], reports["head"]


def _wants_rounds(compared: ComparedCommits) -> bool:
    """Return whether there is a case whose step times more rounds may decide."""
    return intervals_can_be_had() and any(
        verdict.gate == "slowdown" and verdict.outcome is Outcome.UNJUDGED and verdict.required
        for case in compared.cases
        for verdict in case.now.verdicts
        if _is_timed(case.before) and _is_timed(case.now)
    )


def _judge(rounds: Sequence[tuple[Report, Report]], referee: Referee) -> ComparedCommits:
    played = [(_by_key(base), _by_key(head)) for base, head in rounds]
    before, now = played[0]
    common = [key for key in now if key in before]
    if not common:
        message = (
            f"no vram test in both commits, expected at least one: got {len(before)} in the former and {len(now)} in the "
            "newer; check the arguments behind --"
        )
        raise ComparisonError(message)
    return ComparedCommits(
        cases=tuple(_case(key, played, referee) for key in common),
        only_before=tuple(case.id for key, case in before.items() if key not in now),
        only_now=tuple(case.id for key, case in now.items() if key not in before),
        round_count=len(rounds),
    )


def _by_key(report: Report) -> dict[Key, CaseResult]:
    return {(case.id, case.target): case for case in report.cases}


def _case(
    key: Key, played: Sequence[tuple[Mapping[Key, CaseResult], Mapping[Key, CaseResult]]], referee: Referee
) -> ComparedCase:
    pairs = [(before[key], now[key]) for before, now in played if key in before and key in now]
    before, now = pairs[0]
    settings = referee.settings_of(before, now)
    reference = _reference(before)
    gates = comparing_gates(settings, reference, _former(reference, pairs), now.environment)
    card = referee.catalogue.find(now.target)
    verdicts = tuple(gate.judge(now.reading, card) for gate in gates)
    if isinstance(before.reading, OutOfMemory) and isinstance(now.reading, OutOfMemory):
        verdicts = tuple(_as_before(verdict) for verdict in verdicts)
    return ComparedCase(before=before, now=replace(now, verdicts=verdicts, advice=None))


def _is_timed(case: CaseResult) -> bool:
    return isinstance(case.reading, Measurement) and bool(case.reading.steps)


def _has_steps(case: CaseResult) -> bool:
    return isinstance(case.reading, Measurement) and case.reading.step_count > 0


def _former(reference: Reference, pairs: Sequence[tuple[CaseResult, CaseResult]]) -> Former:
    """Return what step times are compared with: the rounds in which both were measured, where there can be any."""
    if pairs[0][1].device.kind == "emulated":
        return EMULATED
    if isinstance(reference, NoBaseline):
        return reference
    rounds = (
        (before.reading, now.reading)
        for before, now in pairs
        if isinstance(before.reading, Measurement) and isinstance(now.reading, Measurement)
    )
    return PairedRuns(rounds=tuple(rounds))


def _reference(before: CaseResult) -> Reference:
    """Return the former measurement; a card that was full before leaves nothing to compare with, and is no fault."""
    match before.reading:
        case Measurement():
            return Baseline(
                case=before.id, target=before.target, environment=before.environment, measurement=before.reading, tool=""
            )
        case OutOfMemory():
            return NoBaseline(reason="the former commit ran out of memory", required=False)
        case NotMeasured():
            return NoBaseline(reason=f"the former commit was not measured: {before.reading.reason}", required=True)


def _as_before(verdict: Verdict) -> Verdict:
    """Return a verdict on a case that runs out of memory as it did: known, listed, and nothing that this change did."""
    return replace(verdict, outcome=Outcome.UNJUDGED, required=False, reason="out of memory, as before")
