"""`vramguard compare` on small repositories: what it finds between two commits, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

import pytest

from pytest_vramguard.devices import real_card_present
from tests.plugin.projects import ENVIRONMENT
from tests.repositories import commit, git, worktrees

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.stack]

MIB: Final = 2**20
COMPARE: Final = (sys.executable, "-m", "pytest_vramguard.cli", "compare")
PROJECT: Final = {
    "pyproject.toml": '[tool.vramguard]\ntarget = "rtx3060"\ndevice = "emulated"\n',
    "src/ours/__init__.py": f"SIZE_BYTES = {16 * MIB}\n",
    "tests/test_memory.py": """
import pytest
import torch

import ours


def loop(vram, size_bytes):
    for _ in range(3):
        with vram.step(tokens=8):
            torch.empty(size_bytes, dtype=torch.uint8, device="cuda")


@pytest.mark.vram
def test_of_ours(vram):
    loop(vram, ours.SIZE_BYTES)


@pytest.mark.vram(max_growth="4MiB")
def test_with_room(vram):
    loop(vram, ours.SIZE_BYTES)


@pytest.mark.vram(max_gb=0.001)
@pytest.mark.xfail(strict=True)
def test_known_not_to_fit(vram):
    loop(vram, 2**24)
""",
}
GROWN: Final = {"src/ours/__init__.py": f"SIZE_BYTES = {18 * MIB}\n"}
PLAIN: Final = {"pyproject.toml": "", "test_plain.py": "import ours\n\ndef test_plain(): pass\n", "ours.py": ""}


def compared(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Return how a comparison ended that was started in `folder`."""
    variables = {**os.environ, **ENVIRONMENT, **environment}
    return subprocess.run([*COMPARE, *arguments], cwd=folder, env=variables, capture_output=True, text=True, check=False)


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells of the table behind the device by the name of the test."""
    lines = [line.split(maxsplit=7) for line in text.splitlines() if "::" in line and "  emulated  " in line]
    return {cells[0].partition("::")[2]: cells[3:] for cells in lines}


@pytest.mark.parametrize(
    "arguments",
    [(), pytest.param(("-n", "4", "--reruns", "1"), marks=pytest.mark.long)],
    ids=["alone", "other plugins"],
)
def test_growth_is_found_to_the_byte(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """The test that grew beyond what is allowed fails the command, also under other plugins; step times are said to be open."""
    commit(tmp_path, PROJECT)
    commit(tmp_path, GROWN)

    ended = compared(tmp_path, "HEAD~1", "--", "tests", *arguments)

    assert 1 == ended.returncode, ended.stderr
    assert {
        "test_of_ours": ["0.02", "0.02", "+2097152", "-", "growth FAIL, slowdown UNJUDGED"],
        "test_with_room": ["0.02", "0.02", "+2097152", "-", "growth PASS, slowdown UNJUDGED"],
        "test_known_not_to_fit": ["0.02", "0.02", "+0", "-", "growth PASS, slowdown UNJUDGED"],
    } == rows(ended.stdout)
    assert "growth FAIL: peak allocated bytes: observed 18874368 bytes (0.02 GiB), limit 16944988 bytes" in ended.stdout
    assert "slowdown UNJUDGED: there is no step time on an emulated card; it is judged where the test runs on a GPU" in (
        ended.stdout
    )
    assert ([], "") == (worktrees(tmp_path), git(tmp_path, "status", "--porcelain"))


def test_equal_commits_pass(tmp_path: Path) -> None:
    """A commit against itself, named as branch and from a folder below, has no growth and ends with 0."""
    commit(tmp_path, PROJECT)

    ended = compared(tmp_path / "tests", "HEAD", "main", "--max-growth", "0", "--", "test_memory.py", "-k", "ours")

    assert 0 == ended.returncode, ended.stderr
    assert {"test_of_ours": ["0.02", "0.02", "+0", "-", "growth PASS, slowdown UNJUDGED"]} == rows(ended.stdout)


def test_nothing_in_common(tmp_path: Path) -> None:
    """Tests that measure nothing are no comparison."""
    commit(tmp_path, PLAIN)

    ended = compared(tmp_path, "HEAD")

    assert 4 == ended.returncode
    assert ended.stderr.endswith(
        "vramguard: no vram test in both commits, expected at least one: got 0 in the former and 0 in the newer; "
        "check the arguments behind --\n"
    )


@pytest.mark.long
def test_a_run_that_breaks_off(tmp_path: Path) -> None:
    """A commit on which pytest cannot even collect is named, with what pytest said last."""
    first = commit(tmp_path, {**PLAIN, "test_plain.py": "import missing\n"})
    commit(tmp_path, PLAIN)

    ended = compared(tmp_path, first)

    assert 4 == ended.returncode
    assert f"vramguard: {first} ({first[:10]}): pytest ended with status 2, expected 0 or 1; it said:\n" in ended.stderr
    assert "ModuleNotFoundError: No module named 'missing'" in ended.stderr
    assert [] == worktrees(tmp_path)


@pytest.mark.long
def test_a_folder_that_only_one_commit_has(tmp_path: Path) -> None:
    """The command is started in a folder that both commits have."""
    first = commit(tmp_path, PLAIN)
    commit(tmp_path, {"below/test_a.py": "def test_a(): pass\n"})

    ended = compared(tmp_path / "below", first)

    assert 4 == ended.returncode
    assert ended.stderr.endswith(": has no folder below/; start the command in one that both have\n")


TIMED: Final = """
import pytest
import torch


@pytest.mark.vram
def test_products(vram):
    left = torch.randn(4096, 4096, device="cuda")
    for _ in range(20):
        with vram.step():
            for _ in range(20):
                left = torch.nn.functional.normalize(left @ left)
"""


@pytest.mark.gpu
@pytest.mark.long
@pytest.mark.skipif(not real_card_present(), reason="needs a real card: none on this machine")
def test_equal_commits_are_equally_fast_on_a_real_card(tmp_path: Path) -> None:
    """On a GPU the two run in turn, and the interval of equal code lies within a limit of a half."""
    pyproject = '[tool.vramguard]\ntarget = "t4"\ndevice = "cuda"\n'
    commit(tmp_path, {"pyproject.toml": pyproject, "test_time.py": TIMED})

    ended = compared(tmp_path, "HEAD", "--max-slowdown", "50%")

    assert 0 == ended.returncode, ended.stderr
    assert "8 rounds in turn" in ended.stdout
    assert "growth PASS, slowdown PASS" in ended.stdout


FINDER: Final = """
import sys
from importlib.util import spec_from_file_location


class Editable:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return spec_from_file_location(name, {path!r}) if name == "ours" else None


sys.meta_path.insert(0, Editable)
"""
"""What some editable installs put before the path."""


def test_an_install_of_the_checkout_is_found_out(tmp_path: Path) -> None:
    """If both commits would run the code of the checkout, nothing is compared, and the file is named."""
    project = tmp_path / "project"
    commit(project, PLAIN)
    startup = tmp_path / "startup"
    startup.mkdir()
    (startup / "sitecustomize.py").write_text(FINDER.replace("{path!r}", repr(str(project / "ours.py"))), encoding="utf-8")

    ended = compared(project, "HEAD", PYTHONPATH=str(startup))

    assert 4 == ended.returncode
    assert f"vramguard: {project / 'ours.py'}: imported from the checkout, expected from the worktree of HEAD (" in ended.stderr
    assert "an editable install of the project is stronger than the path" in ended.stderr


def test_an_install_on_the_path_is_weaker(tmp_path: Path) -> None:
    """A checkout that is on the path, as most editable installs put it, does not shadow the worktrees."""
    commit(tmp_path, PLAIN)

    ended = compared(tmp_path, "HEAD", PYTHONPATH=str(tmp_path))

    assert "no vram test in both commits" in ended.stderr


@pytest.mark.long
def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    """After Ctrl-C the worktrees are gone, and the status is a shell's."""
    waiting = tmp_path / "waiting"
    code = f"import time, pathlib\n\ndef test_waits():\n    pathlib.Path({str(waiting)!r}).touch()\n    time.sleep(600)\n"
    project = tmp_path / "project"
    commit(project, {**PLAIN, "test_plain.py": code})

    heeding = ("env", "--default-signal=INT")  # a shell has what it runs in the background ignore Ctrl-C
    with subprocess.Popen(
        [*heeding, *COMPARE, "HEAD"],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as started:
        while not waiting.exists():
            assert started.poll() is None
            time.sleep(0.05)
        assert len(worktrees(project)) == 2
        os.killpg(started.pid, signal.SIGINT)
        out, _ = started.communicate(timeout=60)

    assert (130, "vramguard: interrupted; the worktrees are removed\n") == (started.returncode, out)
    assert [] == worktrees(project)
