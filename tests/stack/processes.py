"""A Python process of its own, for what torch or an emulated library reads once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


def printed_by(*arguments: str, **variables: str) -> str:
    """Return what Python prints with these arguments, in this environment without the emulated card of this process."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("VRAMGUARD_")}
    done = subprocess.run(
        (sys.executable, "-W", "ignore", *arguments),
        env={**clean, "HF_HUB_OFFLINE": "1", **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout
