"""Whose code a file is: that decides which line of a stack is told to a reader."""

from __future__ import annotations

import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeAlias

CodeOwner: TypeAlias = Literal["user", "library", "torch", "ours", "python"]
"""`torch` is PyTorch and what it works through; `python` is the standard library and code that nobody wrote."""

ASKED_THROUGH: Final = frozenset({"torch", "triton", "typing_extensions"})
"""Packages that others work through; `typing_extensions` wraps what torch has deprecated."""
_OURS: Final = f"{Path(__file__).parent}/"
_INSTALLED: Final = ("/site-packages/", "/dist-packages/")
"""Parts of a path below which packages are installed, wherever that is."""
_PACKAGES: Final = tuple(f"{sysconfig.get_path(name)}/" for name in ("purelib", "platlib"))
_PYTHON: Final = tuple(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib"))
_GENERATED: Final = "/torchinductor_"
"""Part of the path of code that `torch.compile` writes. Source: torch, torch/_inductor/runtime/cache_dir_utils.py."""


@cache
def owner_of(filename: str) -> CodeOwner:
    """Return whose code a file is; a library that is installed from a checkout counts as the user's."""
    if filename.startswith(_OURS):
        return "ours"
    installed = installed_path(filename)
    if installed is not None:
        return "torch" if installed.partition("/")[0].removesuffix(".py") in ASKED_THROUGH else "library"
    is_nobodys = not filename or _GENERATED in filename or filename.startswith(("<", *_PYTHON))
    return "python" if is_nobodys else "user"


def installed_path(filename: str) -> str | None:
    """Return the path of a file below the folder in which its package is installed; None if it is in no such folder."""
    for folder in (*_PACKAGES, *_folder_of_torch()):
        if filename.startswith(folder):
            return filename.removeprefix(folder)
    return next((filename.rpartition(part)[2] for part in _INSTALLED if part in filename), None)


def _folder_of_torch() -> tuple[str, ...]:
    """Return where the torch of this process lies, which may have been built from a checkout."""
    filename = getattr(sys.modules.get("torch"), "__file__", None)
    return () if filename is None else (f"{Path(filename).parents[1]}/",)
