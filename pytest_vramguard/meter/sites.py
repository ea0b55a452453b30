"""Where a block was allocated: the stack that torch recorded with it, as lines that a reader and a later run can name."""

from __future__ import annotations

import linecache
import sysconfig
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import torch

from pytest_vramguard.meter.modules import running_module
from pytest_vramguard.reading import Site

if TYPE_CHECKING:
    from collections.abc import Iterable

Kind: TypeAlias = Literal["user", "library", "torch", "device", "none"]

_OWN: Final = f"{Path(__file__).parents[1]}/"
_DEVICES: Final = f"{_OWN}devices/"
_TORCH: Final = f"{Path(torch.__file__).parent}/"
_PYTHON: Final = tuple(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib"))
_PACKAGES: Final = (f"{Path(torch.__file__).parents[1]}/", *(f"{sysconfig.get_path(name)}/" for name in ("purelib", "platlib")))
_INSTALLED: Final = ("/site-packages/", "/dist-packages/")
"""Parts of a path below which packages are installed, wherever that is."""
_GENERATED: Final = "/torchinductor_"
"""Part of the path of code that `torch.compile` writes. Source: torch, torch/_inductor/runtime/cache_dir_utils.py."""
SHOWN_PARTS: Final = 3
"""Parts of the path that are shown of a file outside of every known folder."""


@dataclass(kw_only=True, slots=True)
class SiteReader:
    """Turns the events of one history, in their order, into sites; equal sites are one object."""

    folder: Path
    """Paths of the user's files are told from here."""
    _known: dict[Site, Site] = field(default_factory=dict)
    _forward: int = 0

    def site_of(self, event: Any) -> tuple[Site, str]:
        """Return where an allocation happened, by the stack recorded with it, and the path of the module that ran."""
        line, code, library = self._lines(event["frames"])
        module, forward = running_module(event.get("user_metadata", ""))
        if forward < self._forward:
            module = ""  # left on a thread by the backward pass before
        self._forward = max(self._forward, forward)
        site = Site(line=line, code=code, library=library) if line or library else Site(module=module)
        return self._known.setdefault(site, site), module

    def _lines(self, frames: Iterable[Any]) -> tuple[str, str, str]:
        """Return the user's line, its text and the library's line, where there are any; `frames` begin with the innermost."""
        library = inside_torch = ""
        for frame in frames:
            match kind_of(frame["filename"]):
                case "user":
                    place = _text(frame, f"{self.folder}/")
                    return place, linecache.getline(frame["filename"], frame["line"]).strip(), library or inside_torch
                case "library":
                    library = library or _text(frame, *_PACKAGES)
                case "torch":
                    inside_torch = inside_torch or _text(frame, *_PACKAGES)
                case "device":
                    library = inside_torch = ""  # all so far was the emulated card at work
                case _:
                    pass
        return "", "", library or inside_torch


@cache
def kind_of(filename: str) -> Kind:
    """Return whose code a file is: the user's, a library's, PyTorch's, that of the emulated card, or none worth naming."""
    if filename.startswith(_TORCH):
        return "torch"
    if filename.startswith(_DEVICES):
        return "device"
    if filename.startswith(_PACKAGES) or any(part in filename for part in _INSTALLED):
        return "none" if filename.startswith(_OWN) else "library"
    is_nobodys = not filename or _GENERATED in filename or filename.startswith((_OWN, "<", *_PYTHON))
    return "none" if is_nobodys else "user"


def _text(frame: Any, *folders: str) -> str:
    """Return a frame as `file:line in function`, the file as it is called below the first of `folders` that it is in."""
    filename: str = frame["filename"]
    found = next((filename.removeprefix(folder) for folder in folders if filename.startswith(folder)), None)
    for part in _INSTALLED:
        found = found or filename.partition(part)[2]
    shown = found or "/".join(Path(filename).parts[-SHOWN_PARTS:])
    return f"{shown}:{frame['line']} in {frame['name']}"
