"""Small git repositories for tests."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

IDENTITY = ("-c", "user.name=Tester", "-c", "user.email=tester@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> str:
    """Return what git printed in `folder`, without the newline at the end."""
    ended = subprocess.run(["git", *IDENTITY, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return ended.stdout.rstrip("\n")


def commit(folder: Path, files: Mapping[str, str]) -> str:
    """Write `files` below `folder`, commit them in its repository, which is made if there is none, and return the digest."""
    folder.mkdir(exist_ok=True)
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch", "main")
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a commit")
    return git(folder, "rev-parse", "HEAD")


def worktrees(folder: Path) -> list[str]:
    """Return the worktrees of a repository besides the first."""
    return git(folder, "worktree", "list", "--porcelain").split("\n\n")[1:]
