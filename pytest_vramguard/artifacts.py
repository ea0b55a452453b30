"""What a failed case leaves behind for a closer look: a snapshot of the allocator's history, for pytorch.org/memory_viz."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

from pytest_vramguard.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


def prepare_folder(folder: Path) -> None:
    """Make `folder` if it is missing, and see that a file can be written there.

    Raises:
        SettingsError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as fault:
        raise _refusal(folder, fault) from fault


def write_snapshot(snapshot: Mapping[str, Any], path: Path) -> None:
    """Write what `torch.cuda.memory._snapshot` gave, as `_dump_snapshot` does, whole or not at all.

    Raises:
        SettingsError: it cannot be written there.
    """
    import pickle

    with _whole(path) as file:
        pickle.dump(dict(snapshot), file)


def keep_snapshot(written: Path, path: Path) -> None:
    """Copy a snapshot that a process has written, whole or not at all.

    Raises:
        SettingsError: it cannot be written there.
    """
    with _whole(path) as file, written.open("rb") as source:
        shutil.copyfileobj(source, file)


def left_at(path: Path, write: Callable[[Path], None]) -> str:
    """Have `write` leave a snapshot of a failed case; return the path, or why it could not be left, which ends nothing."""
    try:
        write(path)
    except SettingsError as fault:
        return str(fault)
    return str(path)


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """Give a file that becomes `path` at the end, and is removed if something goes wrong before."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as file:
            yield file
        unfinished.replace(path)
    except OSError as fault:
        with suppress(OSError):
            unfinished.unlink()
        raise _refusal(path, fault) from fault


def _refusal(path: Path, fault: OSError) -> SettingsError:
    return SettingsError(f"{path}: {fault.strerror}, expected to write artifacts there; name another folder")
