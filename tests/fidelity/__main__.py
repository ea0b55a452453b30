"""Rebuild published runs on the emulated card and compare the counters.

python -m tests.fidelity FILE.jsonl... [--filter TEXT] [--out results.json] [--era own|today]
        [--environments DIR] [--keep] [--answers DIR]
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
from tests.fidelity.runner import Runner

if TYPE_CHECKING:
    from tests.fidelity.rows import Comparison, Plan


def plans_of(path: Path) -> list[Plan]:
    """Return the plans of a file; which module reads it follows from the beginning of its name."""
    rows: list[Any] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    names = sorted((p.stem for p in Path(__file__).parent.glob("*.py")), key=len, reverse=True)
    name = next((name for name in names if path.name.startswith(name)), None)
    if name is None:
        raise SystemExit(f"{path.name}: no module of tests/fidelity is named as this file begins; rename the file, or add one")
    module = importlib.import_module(f"tests.fidelity.{name}")
    if hasattr(module, "plan_of_trace"):
        return [module.plan_of_trace(rows)]
    return [module.plan(row) for row in rows]


def main(arguments: list[str]) -> int:
    """Compare; the status is 0 whatever the errors are, since the report judges them."""
    parser = argparse.ArgumentParser(prog="python -m tests.fidelity", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--filter", default="", help="rows whose name has this text")
    parser.add_argument("--out", type=Path, help="where to write the results as JSON")
    parser.add_argument("--era", choices=("own", "today"), default="own", help="versions of the row, or those of this process")
    parser.add_argument("--environments", type=Path, help="folder of the environments (default: a temporary one)")
    parser.add_argument(
        "--answers", type=Path, help="folder with answers of an interrupted run; valid for one state of the code"
    )
    parser.add_argument("--keep", action="store_true", help="keep the environments that are made")
    options = parser.parse_args(arguments)
    plans = [plan for path in options.files for plan in plans_of(path) if options.filter in plan.identity]
    environments = Environments(options.environments, keep=options.keep)
    found: list[Comparison] = []
    try:
        for comparisons in Runner(environments, today=options.era == "today", answers=options.answers).compare(plans):
            found += comparisons
            sys.stdout.write("".join(_line(comparison) for comparison in comparisons if "window" not in comparison.metric))
            sys.stdout.flush()
            if options.out:
                options.out.write_text(json.dumps(document(found), indent=1), encoding="utf-8")
    finally:
        environments.close()
    return 0


def _line(comparison: Comparison) -> str:
    """Return a line for people."""
    error = comparison.relative_error
    shown = f"{error:+8.2%}" if error is not None else f"       - {comparison.note}"
    return f"{shown}  {comparison.source}  {comparison.identity}  {comparison.metric}\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
