"""A command and every process below it: run to its end, or ended when this process is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

SIGNAL_STATUS: Final = 128
"""What a shell adds to the number of the signal that ended a command."""
INTERRUPTIONS: Final = (signal.SIGINT, signal.SIGTERM)
GRACE_SECONDS: Final = 10.0
"""How long processes have to end by themselves before they are told more firmly."""


class Interrupted(Exception):
    """This process was asked to end."""

    def __init__(self, number: int) -> None:
        """Note the signal."""
        super().__init__(number)
        self.number = number


def run_tree(command: Sequence[str], environment: Mapping[str, str], mark: str, interrupted: Callable[[], None]) -> int:
    """Run the command to its end and return its status, as a shell would.

    By Ctrl-C or a termination everything below ends, after `interrupted` was called, and the status is that of the signal.
    `mark` is a text by which the environment of a process below is known.
    """
    with subprocess.Popen(command, env=environment) as process, _interruptions_raised():
        try:
            status = process.wait()
        except Interrupted as interruption:
            interrupted()
            _end(mark, interruption.number)
            status = -interruption.number
    return SIGNAL_STATUS - status if status < 0 else status


@contextmanager
def _interruptions_raised() -> Iterator[None]:
    """Raise `Interrupted` in the block for a signal that asks this process to end."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    former = {number: signal.signal(number, interrupt) for number in INTERRUPTIONS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _end(mark: str, asked: int) -> None:
    """End every process below; whoever asks again speeds it up.

    The terminal has told them all of Ctrl-C, so that they may end in their own way first.
    """
    for number in ((0,) if asked == signal.SIGINT else ()) + (signal.SIGTERM, signal.SIGKILL):
        with suppress(Interrupted):
            for process_id in _below(mark):
                with suppress(ProcessLookupError):
                    os.kill(process_id, number)
            _wait_for_end(mark)


def _wait_for_end(mark: str) -> None:
    """Return when nothing is left below, or after the grace."""
    deadline = time.monotonic() + GRACE_SECONDS
    while _below(mark) and time.monotonic() < deadline:
        time.sleep(0.05)


def _below(mark: str) -> list[int]:
    """Return the processes that have `mark` in their environment; one that has ended has none any more."""
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has just ended, or is somebody else's
            if mark.encode() in place.read_bytes():
                found.append(int(place.parent.name))
    return found
