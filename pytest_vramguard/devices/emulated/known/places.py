"""Places in the code: which line asked, on whose behalf torch and the libraries above it work."""

from __future__ import annotations

import linecache
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_vramguard.code_owner import owner_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from pytest_vramguard.code_owner import CodeOwner

USERS: Final[frozenset[CodeOwner]] = frozenset({"user"})
ANYBODYS: Final[frozenset[CodeOwner]] = frozenset({"user", "library"})
"""Whose lines may be told of what was asked through torch."""
BACKWARD: Final = "the backward pass"
"""The place of what autograd asks in threads of its own, whose stacks begin there."""
LONGEST_CODE: Final = 100
"""Characters of a source line that are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line of a file."""

    file: str
    """Path, as Python knows it."""
    number: int

    @property
    def text(self) -> str:
        """Folder and name of the file, or its path below the current folder, and the number: `src/train.py:31`."""
        path, here = Path(self.file), Path.cwd()
        shown = path.relative_to(here) if path.is_relative_to(here) else Path(*path.parts[-2:])
        return f"{shown.as_posix()}:{self.number}"

    @property
    def code(self) -> str | None:
        """What is written there; None where it cannot be read."""
        return linecache.getline(self.file, self.number).strip()[:LONGEST_CODE] or None


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """Where something was asked for: the innermost line of the user's own code, and that of a library in between."""

    line: Line
    via: Line | None


def asking_place() -> str:
    """Return the innermost line that is neither torch's, nor Triton's, nor of this package, as in `src/train.py:31`."""
    asking = _innermost(sys._getframe(1), ANYBODYS)
    return BACKWARD if asking is None else _line_of(asking).text


def asking_site() -> Site:
    """Return the innermost line of user code, and that of a library in between.

    A thread without user code, as that of a backward pass, works for the main thread.
    """
    asking = _innermost(sys._getframe(1), ANYBODYS)
    user = _innermost(sys._getframe(1), USERS) or _innermost(_main_frame(), USERS) or asking or sys._getframe(1)
    return Site(line=_line_of(user), via=None if asking in (None, user) else _line_of(asking))


def _innermost(frame: FrameType | None, owners: frozenset[CodeOwner]) -> FrameType | None:
    """Return the innermost frame, from `frame` outwards, whose code is one of `owners`'."""
    return next((each for each in _outward(frame) if owner_of(each.f_code.co_filename) in owners), None)


def _main_frame() -> FrameType | None:
    """Return what the main thread executes, to another thread.

    To itself it would be the frame that asks, whose variables would then hold it, and with it every tensor in the frames below.
    """
    main = threading.main_thread()
    return None if threading.get_ident() == main.ident else sys._current_frames().get(main.ident or 0)


def _outward(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames from `frame` to the outermost."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _line_of(frame: FrameType) -> Line:
    return Line(file=frame.f_code.co_filename, number=frame.f_lineno)
