"""The two commits of a comparison: found, checked out apart, and removed however it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_vramguard.cli import main
from pytest_vramguard.compare.worktrees import Commit, checked_out, commit_of, repository_at
from tests.repositories import commit, git, worktrees

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with two commits, in which commands are started."""
    folder = tmp_path / "project"
    commit(folder, {"a.txt": "old\n", "below/b.txt": "b\n"})
    commit(folder, {"a.txt": "new\n"})
    monkeypatch.chdir(folder)
    return folder


def refused(*arguments: str) -> int:
    """Return the status of a comparison."""
    return main(["compare", *arguments])


def test_both_commits_are_there_and_then_gone(project: Path) -> None:
    """Each worktree holds its commit; the checkout is left alone, and nothing stays behind."""
    repository = repository_at(project / "below")
    commits = [commit_of(repository, name) for name in ("HEAD~1", "main")]

    with checked_out(repository, commits) as folders:
        texts = [(folder / "a.txt").read_text(encoding="utf-8") for folder in folders]

    assert "below/" == repository.prefix
    assert ["old\n", "new\n"] == texts
    assert ([], "") == (worktrees(project), git(project, "status", "--porcelain"))
    assert not any(folder.exists() for folder in folders)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_worktrees_go_whatever_happens(project: Path, error: type[BaseException]) -> None:
    """Ctrl-C or an error in the middle leaves none."""
    repository = repository_at(project)

    def end(folder: Path) -> None:
        (folder / "a.txt").write_text("changed by a test\n", encoding="utf-8")
        raise error

    with pytest.raises(error), checked_out(repository, [commit_of(repository, "HEAD")]) as folders:
        end(folders[0])

    assert [] == worktrees(project)


def test_no_hook_runs(project: Path) -> None:
    """What the user does at each checkout is not done for ours."""
    hook = project / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch hooked\n", encoding="utf-8")
    hook.chmod(0o755)
    repository = repository_at(project)

    with checked_out(repository, [commit_of(repository, "HEAD")]) as folders:
        assert not (folders[0] / "hooked").exists()


def test_a_commit_has_its_name_and_a_short_digest() -> None:
    """Texts show what was asked for and what it was."""
    assert "origin/main (0123456789)" == Commit(name="origin/main", digest="0123456789abcdef").text


def test_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Outside of a repository the message says where to start the command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    assert 4 == refused("main")
    assert (
        f"vramguard: {tmp_path}: not in a git repository, expected one; start vramguard compare in a checkout of the project\n"
    ) == capsys.readouterr().err


def test_no_git(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without git the message says so."""
    monkeypatch.setenv("PATH", str(project))

    assert 4 == refused("main")
    assert "vramguard: git: not found, expected a program on the path; install it\n" == capsys.readouterr().err


def test_a_changed_file(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Changes that are not committed would be in neither run."""
    (project / "a.txt").write_text("changed\n", encoding="utf-8")

    assert 4 == refused("HEAD~1")
    assert (
        f"vramguard: {project}: 1 files are changed (M a.txt), expected none, since commits are compared; "
        "commit or stash the changes\n"
    ) == capsys.readouterr().err
    assert "changed\n" == (project / "a.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("refs", [("nope",), ("HEAD", "nope"), ("HEAD~9",), ("HEAD:a.txt",)])
def test_an_unknown_commit(project: Path, capsys: pytest.CaptureFixture[str], refs: tuple[str, ...]) -> None:
    """The name that means no commit is told, with what to do."""
    assert 4 == refused(*refs)
    assert (
        f"vramguard: command line: {refs[-1]!r}: no commit of {project}, expected a branch, a tag or a digest; "
        "git fetch it if it is on a remote\n"
    ) == capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["{}/below/test_a.py::test_b"], "in the checkout, expected a path in both commits, as in 'below/test_a.py'\n"),
        (["--vram-json=x"], "a comparison has its own, expected none; leave it out\n"),
        (["--vram-accept"], "a comparison has its own, expected none; leave it out\n"),
    ],
)
def test_arguments_that_would_mean_the_checkout(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], fault: str
) -> None:
    """Paths into the checkout would run the same code twice; the report and baselines are not the user's here."""
    named = [argument.format(project) for argument in arguments]

    assert 4 == refused("HEAD~1", "--", *named)
    assert f"vramguard: command line: {named[0]!r}: {fault}" == capsys.readouterr().err


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--max-growth", "8MB"], "command line: max_growth: got '8MB', expected a share"),
        (["--max-slowdown", "8MiB"], "command line: max_slowdown: got '8MiB', expected a share, as in '10%'"),
    ],
)
def test_a_wrong_limit(capsys: pytest.CaptureFixture[str], options: list[str], fault: str) -> None:
    """A limit is read as the marker's is."""
    assert 4 == refused("HEAD~1", *options)
    assert fault in capsys.readouterr().err


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("rounds", ["7", "many"])
def test_too_few_rounds(capsys: pytest.CaptureFixture[str], rounds: str) -> None:
    """An interval needs eight."""
    with pytest.raises(SystemExit) as ended:
        refused("HEAD~1", "--rounds", rounds)

    assert 4 == ended.value.code
    assert f"argument --rounds: got {rounds!r}, expected a whole number from 8; see vramguard compare --help\n" in (
        capsys.readouterr().err
    )
