"""Runs plans in child processes, each in the environment of its era; equal runs once."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tests.fidelity.environments import TODAY, Environments
from tests.fidelity.rows import Comparison, NotRebuilt, Plan, Run, lowered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Answer: TypeAlias = Mapping[str, Any] | str
"""What a child process answers, or why it does not."""
ROOT: Final = Path(__file__).parents[2]
CHILD: Final = Path(__file__).parent / "runs/child.py"
LIMIT_SECONDS: Final = 900
"""After which a run is given up."""


class Runner:
    """Runs what plans ask for, several at a time; a run that fails is a row without a value, and stops no other."""

    def __init__(self, environments: Environments, *, today: bool, answers: Path | None = None, jobs: int = 1) -> None:
        """Use the environments of the eras, or today's versions for all; keep answers in `answers` and use them."""
        self._folder = answers
        self._environments = environments
        self._today = today
        self._jobs = jobs

    def compare(self, plans: Sequence[Plan]) -> Iterator[list[Comparison]]:
        """Yield the comparisons of each plan, in order."""
        pool = ThreadPoolExecutor(self._jobs)
        try:
            answers: dict[str, Future[Answer]] = {}
            for plan in plans:  # all are asked for before the first is waited for
                if isinstance(plan.run, Run):
                    key, ask = self._question(plan.run)
                    if key not in answers:
                        answers[key] = pool.submit(ask)
            for plan in plans:
                yield self._comparisons(plan, answers)
        finally:
            pool.shutdown(cancel_futures=True)

    def _comparisons(self, plan: Plan, answers: Mapping[str, Future[Answer]]) -> list[Comparison]:
        """Return the comparisons of a plan, waiting for its answer."""
        if isinstance(plan.run, NotRebuilt):
            return _without_value(plan, "", plan.run.reason)
        answer, era = answers[self._question(plan.run)[0]].result(), self._era(plan.run)
        if not isinstance(answer, str):
            answer = plan.run.contradiction(answer["counted"]) or answer
        return _without_value(plan, era, answer) if isinstance(answer, str) else _compared(plan, plan.run, era, answer)

    def _era(self, run: Run) -> str:
        return TODAY if self._today else run.era

    def _question(self, run: Run) -> tuple[str, Callable[[], Answer]]:
        """Return what tells a question from others, and what answers it."""
        order = json.dumps({"run": run.script, "card": run.card, "settings": run.settings}, sort_keys=True)
        era, packages = self._era(run), run.packages_today if self._today else run.packages
        key = f"{era} {packages} {order}"
        return key, partial(self._answer, key, order, era, packages)

    def _answer(self, key: str, order: str, era: str, packages: tuple[str, ...]) -> Answer:
        """Return what a child process answered earlier or answers now, or why it does not."""
        stored = self._stored(key)
        if stored is not None:
            return stored
        try:
            paths = [str(self._environments.package(era, package)) for package in packages] + [str(ROOT)]
            python = self._environments.python(era)
        except subprocess.CalledProcessError as fault:
            return f"its libraries could not be installed: {fault}"
        answer = _asked(order, python, paths)
        self._store(key, answer)
        return answer

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


def _asked(order: str, python: Path, paths: Sequence[str]) -> Answer:
    """Ask a child process."""
    # What is computed here is small: threads would wait for each other, most of all on a machine that is busy.
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="vramguard-run-") as folder:
        question, answer = Path(folder, "order.json"), Path(folder, "answer.json")
        question.write_text(order, encoding="utf-8")
        command = [str(python), "-W", "ignore", str(CHILD), str(question), str(answer)]
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
