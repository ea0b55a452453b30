"""Virtual environments for tests that need other libraries than those installed here."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make_environment(folder: Path) -> Path:
    """Make an empty environment in `folder` and return its Python.

    Raises:
        subprocess.CalledProcessError: it could not be made; what went wrong has been printed.
    """
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder / "bin/python"


def install(python: Path, *arguments: str) -> None:
    """Have the pip of an environment install, leaving neither bytecode nor archives behind.

    Raises:
        subprocess.CalledProcessError: it could not, and has said why.
    """
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-compile", "--no-cache-dir", *arguments]
    subprocess.run(command, check=True)
