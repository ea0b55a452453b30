"""What `vramguard compare` does: check out, run in turn, judge, and tell."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from pytest_vramguard.cards import load_catalogue
from pytest_vramguard.compare.rounds import Referee, compare
from pytest_vramguard.compare.run import Checkout
from pytest_vramguard.compare.worktrees import checked_out, commit_of, repository_at
from pytest_vramguard.errors import ComparisonError
from pytest_vramguard.render import comparison
from pytest_vramguard.settings import wishes_of_project

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_vramguard.compare.rounds import Side
    from pytest_vramguard.compare.worktrees import Repository
    from pytest_vramguard.report import Report
    from pytest_vramguard.settings import Wishes

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as a shell gives it: 128 and the number of the signal."""


def compare_commits(refs: tuple[str, str], arguments: Sequence[str], wishes: Wishes, most_rounds: int) -> tuple[str, int]:
    """Return the text about the commits that `refs` name, former and newer, and the exit status.

    `wishes` are the limits of the command line.

    Raises:
        VramguardError: they cannot be compared.
    """
    repository = repository_at(Path.cwd())
    _check(arguments, repository)
    commits = [commit_of(repository, ref) for ref in refs]
    cards = wishes_of_project(repository.top / "pyproject.toml").cards or ()
    referee = Referee(wishes=wishes, catalogue=load_catalogue(cards), root=repository.top)
    try:
        with checked_out(repository, commits) as folders, TemporaryDirectory(prefix="vramguard-") as outputs:
            base, head = (
                Checkout(commit=commit, folder=folder, repository=repository)
                for commit, folder in zip(commits, folders, strict=True)
            )

            def measure(side: Side, number: int) -> Report:
                checkout = base if side == "base" else head
                sys.stderr.write(f"vramguard: round {number + 1}: {checkout.commit.text}\n")
                return checkout.run(arguments, Path(outputs, f"{side}-{number}"))

            compared = compare(measure, referee, most_rounds)
    except KeyboardInterrupt:
        return "vramguard: interrupted; the worktrees are removed\n", INTERRUPTED
    text = comparison.render(compared, commits[0].text, commits[1].text)
    return text, int(any(case.now.is_red for case in compared.cases))


def _check(arguments: Sequence[str], repository: Repository) -> None:
    """Refuse arguments of pytest that would not mean the worktrees.

    Raises:
        ComparisonError: one names the checkout, or asks for what a comparison does itself.
    """
    for argument in arguments:
        place = Path(argument.partition("::")[0])
        if place.is_absolute() and place.is_relative_to(repository.top):
            relative = place.relative_to(repository.top)
            message = f"command line: {argument!r}: in the checkout, expected a path in both commits, as in {str(relative)!r}"
            raise ComparisonError(message)
        if argument.partition("=")[0] in {"--vram-json", "--vram-accept"}:
            message = f"command line: {argument!r}: a comparison has its own, expected none; leave it out"
            raise ComparisonError(message)
