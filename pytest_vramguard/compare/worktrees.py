"""The two commits, checked out beside the repository for as long as they are compared."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pytest_vramguard.errors import ComparisonError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """The repository in which the command was started, without changes that are not committed."""

    top: Path
    """Where it is checked out."""
    prefix: str
    """Where in it the command was started; empty at the top."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """A commit, under the name that it was asked for by."""

    name: str
    """As in `origin/main`."""
    digest: str

    @property
    def text(self) -> str:
        """Name and short digest, as in `origin/main (1a2b3c4d5e)`."""
        return f"{self.name} ({self.digest[:10]})"


def repository_at(folder: Path) -> Repository:
    """Return the repository around `folder`.

    Raises:
        ComparisonError: there is no git or no repository, or files of it are changed and not committed.
    """
    top = _git(folder, "rev-parse", "--show-toplevel")
    if not top:
        message = f"{folder}: not in a git repository, expected one; start vramguard compare in a checkout of the project"
        raise ComparisonError(message)
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    if changed:
        lines = changed.splitlines()
        message = (
            f"{top}: {len(lines)} files are changed ({lines[0].strip()}), expected none, since commits are compared; "
            "commit or stash the changes"
        )
        raise ComparisonError(message)
    return Repository(top=Path(top), prefix=_git(folder, "rev-parse", "--show-prefix") or "")


def commit_of(repository: Repository, name: str) -> Commit:
    """Return the commit that `name` means.

    Raises:
        ComparisonError: it means none.
    """
    digest = _git(repository.top, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if not digest:
        message = (
            f"command line: {name!r}: no commit of {repository.top}, expected a branch, a tag or a digest; "
            "git fetch it if it is on a remote"
        )
        raise ComparisonError(message)
    return Commit(name=name, digest=digest)


@contextmanager
def checked_out(repository: Repository, commits: Sequence[Commit]) -> Iterator[list[Path]]:
    """Give a worktree of each of `commits`, and remove them however the code inside ends.

    Raises:
        ComparisonError: git cannot check one out.
    """
    with TemporaryDirectory(prefix="vramguard-") as parent:
        folders = [Path(parent, str(index)) for index in range(len(commits))]
        try:
            for commit, folder in zip(commits, folders, strict=True):
                _add(repository, commit, folder)
            yield folders
        finally:
            for folder in folders:
                _git(repository.top, "worktree", "remove", "--force", str(folder))


def _add(repository: Repository, commit: Commit, folder: Path) -> None:
    # A hook of the user's repository may do anything at a checkout; this one is not the user's.
    hookless = ("-c", "core.hooksPath=/dev/null")
    if _git(repository.top, *hookless, "worktree", "add", "--detach", "--quiet", str(folder), commit.digest) is None:
        message = f"{commit.text}: git worktree add failed, expected a checkout in {folder}; try it by hand"
        raise ComparisonError(message)


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git printed, without the newline; None if it failed."""
    try:
        ended = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as fault:
        message = "git: not found, expected a program on the path; install it"
        raise ComparisonError(message) from fault
    return ended.stdout.rstrip("\n") if ended.returncode == 0 else None
