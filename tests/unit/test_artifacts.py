"""Snapshots lie where they belong, whole or not at all."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest

from pytest_vramguard.artifacts import prepare_folder, write_snapshot
from pytest_vramguard.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_is_made(tmp_path: Path) -> None:
    """A folder that is missing is made with those around it, and is left empty."""
    prepare_folder(tmp_path / "new" / "folder")
    prepare_folder(tmp_path / "new" / "folder")

    assert [] == list((tmp_path / "new" / "folder").iterdir())


def test_a_snapshot_replaces_an_older_one(tmp_path: Path) -> None:
    """What was written is read as it was, and nothing else is left in the folder."""
    path = tmp_path / "case.pickle"
    write_snapshot({"segments": [], "device_traces": [[1]]}, path)

    write_snapshot({"segments": [], "device_traces": [[1, 2]]}, path)

    assert {"segments": [], "device_traces": [[1, 2]]} == pickle.loads(path.read_bytes())  # noqa: S301 (our own)
    assert [path] == list(tmp_path.iterdir())


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    """A place where nothing can be written is told with the next step."""
    (tmp_path / "left").write_text("", encoding="utf-8")

    with pytest.raises(SettingsError, match=r"left: File exists, expected to write artifacts there; name another folder$"):
        prepare_folder(tmp_path / "left")
    with pytest.raises(SettingsError, match=r"case\.pickle: Not a directory, expected to write artifacts there; "):
        write_snapshot({}, tmp_path / "left" / "case.pickle")
