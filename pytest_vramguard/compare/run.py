"""One run of pytest in a worktree."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pytest_vramguard.compare.witness import CHECKOUT_VARIABLE, STRANGERS_VARIABLE
from pytest_vramguard.errors import ComparisonError
from pytest_vramguard.report import Report
from pytest_vramguard.report_table import ReportError, report_from_table
from pytest_vramguard.tables import reading

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_vramguard.compare.worktrees import Commit, Repository

ENDED: Final = (0, 1)
"""Statuses of a run in which every test had its turn."""
LAST_LINES: Final = 20
"""Of pytest's output, where it ended otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkout:
    """A commit in its worktree."""

    commit: Commit
    folder: Path
    repository: Repository

    def run(self, arguments: Sequence[str], outputs: Path) -> Report:
        """Run pytest with `arguments` there, and return its report; files of ours go into the new folder `outputs`.

        Raises:
            ComparisonError: pytest did not come to its end, or took modules from elsewhere.
        """
        outputs.mkdir()
        place = self.folder / self.repository.prefix
        if not place.is_dir():
            message = f"{self.commit.text}: has no folder {self.repository.prefix}; start the command in one that both have"
            raise ComparisonError(message)
        report_path = outputs / "report.json"
        ours = ["-p", "pytest_vramguard.compare.witness", "--vram-json", str(report_path)]
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments, *ours],
            cwd=place,
            env=self._environment(outputs),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if ended.returncode not in ENDED:
            last = "\n".join(ended.stdout.splitlines()[-LAST_LINES:])
            message = f"{self.commit.text}: pytest ended with status {ended.returncode}, expected 0 or 1; it said:\n{last}"
            raise ComparisonError(message)
        self._refuse_strangers(_strangers_path(outputs))
        return _report_at(report_path)

    def _environment(self, outputs: Path) -> dict[str, str]:
        """Return an environment in which the modules of the worktree come before those that are installed."""
        inherited = os.environ.get("PYTHONPATH")
        own = [str(folder) for folder in (self.folder, self.folder / "src") if folder.is_dir()]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*own, *([inherited] if inherited else [])]),
            CHECKOUT_VARIABLE: str(self.repository.top.resolve()),
            STRANGERS_VARIABLE: str(_strangers_path(outputs)),
        }

    def _refuse_strangers(self, path: Path) -> None:
        if path.exists():
            first = path.read_text(encoding="utf-8").splitlines()[0]
            message = (
                f"{first}: imported from the checkout, expected from the worktree of {self.commit.text}; an editable install "
                "of the project is stronger than the path: uninstall it, or compare in an environment without it"
            )
            raise ComparisonError(message)


def _strangers_path(outputs: Path) -> Path:
    return outputs / "strangers.txt"


def _report_at(path: Path) -> Report:
    """Return the report of a run; one without vram tests writes none."""
    if not path.exists():
        return Report(tool="", cases=())
    with reading(path, ReportError) as root:
        document = root.mapping
    return report_from_table(document, str(path))
