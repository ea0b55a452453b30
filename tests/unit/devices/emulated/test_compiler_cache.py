"""An empty cache of `torch.compile` for each run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_vramguard.code_owner import owner_of
from pytest_vramguard.devices.emulated.compiler_cache import FOLDERS, empty_compiler_cache

if TYPE_CHECKING:
    import pytest

FOLDER, TRITON_FOLDER = FOLDERS


def test_each_run_has_an_empty_folder_that_is_deleted() -> None:
    """What the compiler leaves there is gone, also with what it set itself."""
    with empty_compiler_cache():
        first = Path(os.environ[FOLDER])
        assert [] == list(first.iterdir())
        (first / "kernel.py").touch()
        os.environ[TRITON_FOLDER] = str(first / "triton")

    with empty_compiler_cache():
        assert os.environ[FOLDER] != str(first)
        assert os.environ.get(TRITON_FOLDER) != str(first / "triton")

    assert not first.exists()


def test_folders_of_the_user_are_named_again_afterwards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache that is set in the environment is not used, and not touched."""
    for name in FOLDERS:
        monkeypatch.setenv(name, str(tmp_path))

    with empty_compiler_cache():
        Path(os.environ[FOLDER], "kernel.py").touch()

    assert [str(tmp_path)] * 2 == [os.environ[name] for name in FOLDERS]
    assert [] == list(tmp_path.iterdir())


def test_what_is_compiled_is_code_that_nobody_wrote() -> None:
    """A line of it is not told to readers as one of theirs."""
    with empty_compiler_cache():
        assert owner_of(f"{os.environ[FOLDER]}/ab/cab.py") == "python"
