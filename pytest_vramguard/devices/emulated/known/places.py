"""Places in the code: which line asked, on whose behalf torch and the libraries above it work."""

from __future__ import annotations

import linecache
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

ASKED_THROUGH: Final = frozenset({"torch", "triton", "typing_extensions", "pytest_vramguard"})
"""Packages through which others ask; `typing_extensions` wraps what torch has deprecated."""
BACKWARD: Final = "the backward pass"
"""The place of what autograd asks in threads of its own, whose stacks begin there."""
LIBRARIES: Final = frozenset({
    *ASKED_THROUGH,
    "accelerate",
    "bitsandbytes",
    "datasets",
    "deepspeed",
    "diffusers",
    "evaluate",
    "flash_attn",
    "huggingface_hub",
    "lightning",
    "liger_kernel",
    "numpy",
    "peft",
    "pytorch_lightning",
    "safetensors",
    "torchao",
    "tqdm",
    "transformers",
    "trl",
    "xformers",
})  # fmt: skip
"""Packages whose code is not the user's."""
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
    asking = _innermost(sys._getframe(1), ASKED_THROUGH)
    return BACKWARD if asking is None else _line_of(asking).text


def asking_site() -> Site:
    """Return the innermost line of user code, and that of a library in between.

    A thread without user code, as that of a backward pass, works for the main thread.
    """
    asking = _innermost(sys._getframe(1), ASKED_THROUGH)
    user = _innermost(sys._getframe(1), LIBRARIES) or _innermost(_main_frame(), LIBRARIES) or asking or sys._getframe(1)
    return Site(line=_line_of(user), via=None if asking in (None, user) else _line_of(asking))


def _innermost(frame: FrameType | None, besides: frozenset[str]) -> FrameType | None:
    """Return the innermost frame, from `frame` outwards, of no package in `besides`, nor of Python itself."""
    return next((each for each in _outward(frame) if not _is_of(each, besides)), None)


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


def _is_of(frame: FrameType, packages: frozenset[str]) -> bool:
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return package in packages or package in sys.stdlib_module_names


def _line_of(frame: FrameType) -> Line:
    return Line(file=frame.f_code.co_filename, number=frame.f_lineno)
