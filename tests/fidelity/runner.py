"""Runs plans in child processes, each in the environment of its era; equal runs once."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.fidelity.environments import TODAY, Environments
from tests.fidelity.rows import Comparison, NotRebuilt, Plan, Run, lowered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ROOT: Final = Path(__file__).parents[2]
CHILD: Final = Path(__file__).parent / "runs/child.py"
LIMIT_SECONDS: Final = 900
"""After which a run is given up."""


class Runner:
    """Runs what plans ask for."""

    def __init__(self, environments: Environments, *, today: bool, answers: Path | None = None) -> None:
        """Use the environments of the eras, or today's versions for all; keep answers in `answers` and use them."""
        self._folder = answers
        self._environments = environments
        self._today = today
        self._answers: dict[str, Mapping[str, Any] | str] = {}

    def compare(self, plans: Iterable[Plan]) -> Iterator[list[Comparison]]:
        """Yield the comparisons of each plan."""
        for plan in plans:
            if isinstance(plan.run, NotRebuilt):
                yield _without_value(plan, "", plan.run.reason)
                continue
            era = TODAY if self._today else plan.run.era
            answer = self._answer(plan.run, era)
            if not isinstance(answer, str):
                answer = plan.run.contradiction(answer["counted"]) or answer
            yield _without_value(plan, era, answer) if isinstance(answer, str) else _compared(plan, plan.run, era, answer)

    def _answer(self, run: Run, era: str) -> Mapping[str, Any] | str:
        """Return what the child process answers, or why it does not."""
        order = json.dumps({"run": run.script, "card": run.card, "settings": run.settings}, sort_keys=True)
        packages = () if era == TODAY else run.packages
        key = f"{era} {packages} {order}"
        if key not in self._answers:
            self._answers[key] = self._stored(key) or self._asked(order, era, packages)
            self._store(key, self._answers[key])
        return self._answers[key]

    def _place(self, key: str) -> Path | None:
        """Return where the answer to a question lies."""
        return self._folder and self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"

    def _stored(self, key: str) -> Mapping[str, Any] | None:
        """Return the answer of an earlier process."""
        place = self._place(key)
        return json.loads(place.read_text(encoding="utf-8")) if place and place.exists() else None

    def _store(self, key: str, answer: Mapping[str, Any] | str) -> None:
        """Keep an answer for later processes, unless it is a failure."""
        place = self._place(key)
        if place and not isinstance(answer, str):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(answer), encoding="utf-8")

    def _asked(self, order: str, era: str, packages: tuple[str, ...]) -> Mapping[str, Any] | str:
        """Ask a child process."""
        paths = [str(self._environments.package(era, package)) for package in packages] + [str(ROOT)]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
        with tempfile.TemporaryDirectory(prefix="vramguard-run-") as folder:
            question, answer = Path(folder, "order.json"), Path(folder, "answer.json")
            question.write_text(order, encoding="utf-8")
            command = [str(self._environments.python(era)), "-W", "ignore", str(CHILD), str(question), str(answer)]
            try:
                ended = subprocess.run(
                    command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
                )
            except subprocess.TimeoutExpired:
                return f"the run took more than {LIMIT_SECONDS} s"
            if not answer.exists():
                return f"the run ended with: {(ended.stderr.strip().splitlines() or ['nothing'])[-1][:300]}"
            found: Mapping[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
            return found


def _without_value(plan: Plan, era: str, reason: str) -> list[Comparison]:
    """Return the comparisons of a row that has no emulated value."""
    return [
        Comparison(
            source=plan.source,
            identity=plan.identity,
            metric=metric,
            grade=plan.grade,
            measured=measured,
            emulated=None,
            era=era,
            versions={},
            note=reason,
        )
        for metric, measured in plan.measured.items()
    ]


def _compared(plan: Plan, run: Run, era: str, answer: Mapping[str, Any]) -> list[Comparison]:
    """Return the comparisons of a row that was rebuilt."""
    emulated = run.counters(answer["counted"])
    notes = [run.lowered] if run.lowered else []
    if answer["gaps"]:
        notes.append(f"not emulated: {', '.join(answer['gaps'])}")
    grade = lowered(plan.grade) if notes else plan.grade
    return [
        Comparison(
            source=plan.source,
            identity=plan.identity,
            metric=metric,
            grade=grade,
            measured=measured,
            emulated=emulated[metric],
            era=era,
            versions=answer["versions"],
            note="; ".join(notes) or None,
        )
        for metric, measured in plan.measured.items()
    ]
