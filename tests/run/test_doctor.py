"""`vramguard doctor` says what this machine allows, and its exit status says whether a case can run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pytest_vramguard.devices import real_card_present

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.stack]


def doctor(*options: str, **environment: str) -> tuple[int, str]:
    """Return status and output of the command."""
    command = (sys.executable, "-m", "pytest_vramguard.cli", "doctor", *options)
    ended = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr


@pytest.fixture
def cpu_build(tmp_path: Path) -> Path:
    """A folder with a torch that consists of its version."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "torch/version.py").write_text("__version__ = '2.14.1+cpu'\ncuda: Optional[str] = None\n", encoding="utf-8")
    return tmp_path


def test_the_step_works_here() -> None:
    """With the training stack installed emulation works, and the step took the memory of its weights and more."""
    status, text = doctor("--json")
    found: dict[str, Any] = json.loads(text)

    assert (0, True, True) == (status, found["emulation"]["works"], found["usable"])
    assert found["emulation"]["account"].startswith("a training step took ")
    assert ("cuda" if real_card_present() else "emulated") == found["device"]


@pytest.mark.skipif(real_card_present(), reason="a real card would be tried as well")
def test_a_build_without_cuda_is_no_device(cpu_build: Path) -> None:
    """The status is that of a usage error, and the text says what to install."""
    status, text = doctor(PYTHONPATH=str(cpu_build))

    lines = dict(line.split("  ", 1) for line in text.splitlines())
    found = {name: account.strip() for name, account in lines.items()}
    assert status == 4
    assert "2.14.1+cpu, built without CUDA" == found["torch"]
    assert found["emulation"].endswith(
        "torch 2.14.1+cpu: a build without CUDA, expected CUDA 12 or 13; "
        "install that build: pip install --force-reinstall torch"
    )
    assert "none; mend what is said above" == found["device"]


@pytest.mark.long
@pytest.mark.skipif(real_card_present(), reason="a real card would be found as well")
def test_an_emulated_card_is_no_real_one() -> None:
    """Below `vramguard run` the driver is the emulated one, whose cards are not listed."""
    command = (sys.executable, "-m", "pytest_vramguard.cli", "doctor", "--json")
    outer = (sys.executable, "-m", "pytest_vramguard.cli", "run", "--target", "rtx3060", "--", *command)

    ended = subprocess.run(outer, capture_output=True, text=True, check=False)

    found = json.JSONDecoder().raw_decode(ended.stdout)[0]
    assert (None, []) == (found["driver"], found["real_cards"])
