"""One case at a time on a real card, across processes."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def gpu_lock(uuid: object) -> Iterator[None]:
    """Hold the lock of the card `uuid`; waits for as long as another process holds it.

    The lock is the kernel's, on a file in the temporary directory: it goes with the process, however that ends.
    """
    import fcntl  # not on Windows, where this package must still be importable

    with Path(tempfile.gettempdir(), f"vramguard-{uuid}.lock").open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
