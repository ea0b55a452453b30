"""Rebuild published runs on the emulated card and compare the counters.

python -m tests.fidelity FILE.jsonl|FOLDER... [--filter TEXT]... [--out results.json|FOLDER] [--era own|today]
        [--environments DIR] [--keep] [--answers DIR] [--jobs N]
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.fidelity.environments import Environments
from tests.fidelity.results import document
from tests.fidelity.rows import NotRebuilt, Plan
from tests.fidelity.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.fidelity.rows import Comparison, Row


def files_of(places: Sequence[Path]) -> list[Path]:
    """Return the files among the places, and of each folder those that a module reads."""
    found: list[Path] = []
    for place in places:
        found += sorted(path for path in place.rglob("*.jsonl") if module_of(path)) if place.is_dir() else [place]
    return found


def module_of(path: Path) -> str | None:
    """Return the name of the module that reads a file: that with which its own name begins; None if there is none."""
    names = sorted((p.stem for p in Path(__file__).parent.glob("*.py")), key=len, reverse=True)
    return next((name for name in names if path.name.startswith(name)), None)


def plans_of(path: Path) -> list[Plan]:
    """Return the plans of a file."""
    rows: list[Any] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    name = module_of(path)
    if name is None:
        raise SystemExit(f"{path.name}: no module of tests/fidelity is named as this file begins; rename the file, or add one")
    module = importlib.import_module(f"tests.fidelity.{name}")
    if hasattr(module, "plan_of_trace"):
        return [module.plan_of_trace(rows)]
    return [_plan(module.plan, row) for row in rows]


def _plan(plan: Callable[[Row], Plan], row: Row) -> Plan:
    """Return the plan of a row; one that lacks what its file's other rows have is listed with the reason."""
    try:
        return plan(row)
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        identity = str(row.get("experiment") or row.get("model") or row.get("url") or "a row")
        reason = f"the row could not be read: {type(fault).__name__}: {fault}"
        return Plan(
            source=str(row.get("source", "")),
            identity=identity,
            grade="C",
            measured={"none": 0.0},
            run=NotRebuilt(reason=reason),
        )


def main(arguments: list[str]) -> int:
    """Compare; the status is 0 whatever the errors are, since the report judges them."""
    parser = argparse.ArgumentParser(prog="python -m tests.fidelity", description=__doc__)
    parser.add_argument("places", nargs="+", type=Path, metavar="FILE|FOLDER", help="published rows")
    parser.add_argument("--filter", action="append", help="rows whose name has this text; may be repeated")
    parser.add_argument("--out", type=Path, help="where to write the results as JSON; in a folder, a file for each source")
    parser.add_argument("--era", choices=("own", "today"), default="own", help="versions of the row, or those of this process")
    parser.add_argument("--environments", type=Path, help="folder of the environments (default: a temporary one)")
    parser.add_argument(
        "--answers", type=Path, help="folder with answers of an interrupted run; valid for one state of the code"
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--keep", action="store_true", help="keep the environments that are made")
    options = parser.parse_args(arguments)
    texts = options.filter or [""]
    plans = [
        plan for path in files_of(options.places) for plan in plans_of(path) if any(text in plan.identity for text in texts)
    ]
    environments = Environments(options.environments, keep=options.keep)
    runner = Runner(environments, today=options.era == "today", answers=options.answers, jobs=options.jobs)
    found: list[Comparison] = []
    try:
        for comparisons in runner.compare(plans):
            found += comparisons
            sys.stdout.write("".join(_line(comparison) for comparison in comparisons if "window" not in comparison.metric))
            sys.stdout.flush()
            if options.out:
                write(options.out, found)
    finally:
        environments.close()
    return 0


def write(out: Path, found: Sequence[Comparison]) -> None:
    """Write results to a file, or to a file for each source in a folder."""
    if not out.is_dir():
        out.write_text(json.dumps(document(found)), encoding="utf-8")
        return
    for source in {comparison.source for comparison in found}:
        write(out / f"{source}.json", [comparison for comparison in found if comparison.source == source])


def _line(comparison: Comparison) -> str:
    """Return a line for people."""
    error = comparison.relative_error
    shown = f"{error:+8.2%}" if error is not None else f"       - {comparison.note}"
    return f"{shown}  {comparison.source}  {comparison.identity}  {comparison.metric}\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
