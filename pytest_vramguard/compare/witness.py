"""A pytest plugin for the runs that are compared: it notes what was imported from the checkout instead of the worktree.

That happens where the project is installed in its checkout in a way that is stronger than the path: both runs would then
measure the same code.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

CHECKOUT_VARIABLE = "VRAMGUARD_CHECKOUT"
"""Environment variable with the folder from which nothing of the project may be imported."""
STRANGERS_VARIABLE = "VRAMGUARD_STRANGERS"
"""Environment variable with the file to which what was imported from there is added, one path a line."""


def pytest_sessionfinish() -> None:
    """Note the modules of this process that come from the checkout; an environment inside of it and this package may."""
    checkout = Path(os.environ[CHECKOUT_VARIABLE])
    allowed = (Path(sys.prefix), Path(__file__).parents[1])
    files = {Path(file).resolve() for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}
    strangers = [
        file for file in files if file.is_relative_to(checkout) and not any(file.is_relative_to(place) for place in allowed)
    ]
    if strangers:
        with Path(os.environ[STRANGERS_VARIABLE]).open("a", encoding="utf-8") as noted:
            noted.writelines(f"{file}\n" for file in sorted(strangers))
