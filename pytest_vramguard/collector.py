"""Python's memory: what its collector need not search again and again, and what an exception keeps alive."""

from __future__ import annotations

import gc
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Search for no garbage inside; afterwards as before, but what was made inside counts as old.

    The training stack makes three million objects while it is imported, none of them garbage, and the collector would search
    them all the time: 0.4 of 2.5 seconds for torch, 1 of 10 for the rest (2 cores, Python 3.11). Left young, they would be
    searched together at the first object made outside, and twice more until they are old.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()  # into the oldest generation
        if collecting:
            gc.enable()


def search_for_the_last_time() -> None:
    """Let go of all garbage now, and keep what is left from further searches until `gc.unfreeze()`.

    For the end of a run: pytest searches twice for errors of finalizers, which takes half a second each with the training stack
    loaded. Those errors come out here instead.
    """
    gc.collect()
    gc.freeze()


def let_go(error: BaseException | None) -> None:
    """Empty the frames of an error and of those that it came from: they hold the tensors of a test that has failed.

    The error itself is not ours to drop. pytest keeps the last one for debuggers, and pytest-rerunfailures keeps them all.
    """
    while error is not None:
        for frame, _line in traceback.walk_tb(error.__traceback__):
            with suppress(RuntimeError):  # it is still running
                frame.clear()
            _ = frame.f_locals  # before Python 3.13 a copy is kept, which follows only when it is asked for
        error = error.__cause__ or error.__context__
