"""Runs each file of `native/` in a process of its own, on the libraries that were built with the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_vramguard.devices.emulated.libraries import FOLDER, built

HERE = Path(__file__).parent
FILES = sorted(path.name for path in HERE.joinpath("native").glob("test_*.py"))


@pytest.mark.skipif(not built(), reason="the package was installed without the emulated libraries")
@pytest.mark.parametrize("name", FILES)
def test_the_emulated_libraries_keep_their_contract(name: str) -> None:
    """Every test of the file passes in a process that has nothing but the emulated libraries."""
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "native" / name))
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "VRAMGUARD_", "COV_CORE_"))}
    own = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "VRAMGUARD_TEST_LIBRARIES": str(FOLDER)}

    done = subprocess.run(
        command,
        env={**clean, **own},
        cwd=HERE.parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stdout
