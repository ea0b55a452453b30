"""Where a block was allocated: the stack that torch recorded with it, as lines that a reader and a later run can name."""

from __future__ import annotations

import linecache
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pytest_vramguard.code_owner import installed_path, owner_of
from pytest_vramguard.meter.modules import running_module
from pytest_vramguard.reading import Site

if TYPE_CHECKING:
    from collections.abc import Iterable

_DEVICES: Final = f"{Path(__file__).parents[1]}/devices/"
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
            filename: str = frame["filename"]
            match owner_of(filename):
                case "user":
                    code = linecache.getline(filename, frame["line"]).strip()
                    return self._text(frame), code, library or inside_torch
                case "library":
                    library = library or self._text(frame)
                case "torch":
                    inside_torch = inside_torch or self._text(frame)
                case "ours" if filename.startswith(_DEVICES):
                    library = inside_torch = ""  # all so far was the emulated card at work
                case _:
                    pass
        return "", "", library or inside_torch

    def _text(self, frame: Any) -> str:
        """Return a frame as `file:line in function`, the file as it is called in its package or in the user's folder."""
        filename: str = frame["filename"]
        below = filename.removeprefix(f"{self.folder}/")
        shown = installed_path(filename) or (below if below != filename else "/".join(Path(filename).parts[-SHOWN_PARTS:]))
        return f"{shown}:{frame['line']} in {frame['name']}"
