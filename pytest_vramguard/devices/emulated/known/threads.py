"""Threads that are started while values are followed: a dispatch mode belongs to one thread, and new ones begin without."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


@contextmanager
def entered_by_threads(mode: AbstractContextManager[object]) -> Iterator[None]:
    """Let every thread that is started in the block run inside of `mode`, whatever kind of thread it is."""
    start = threading.Thread.start

    def start_inside(thread: threading.Thread) -> None:
        run = thread.run

        def run_inside() -> None:
            del thread.run
            with mode:
                run()

        thread.run = run_inside  # type: ignore[method-assign]
        start(thread)

    threading.Thread.start = start_inside  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        threading.Thread.start = start  # type: ignore[method-assign]
