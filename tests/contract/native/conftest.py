"""Fixtures of the tests that run on the emulated libraries themselves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_vramguard.devices.emulated.libraries import FOLDER
from tests.contract.native.libraries import Libraries, card_text, load

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def folder() -> Path:
    """The folder of the libraries under test: those of the package, for a file that is run by its name alone."""
    return Path(os.environ.get("VRAMGUARD_TEST_LIBRARIES", FOLDER))


@pytest.fixture(scope="session")
def loaded(folder: Path) -> Libraries:
    """The libraries under test, in this process, which may see all cards."""
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    return load(folder)


@pytest.fixture
def cards(loaded: Libraries) -> Iterator[Libraries]:
    """The libraries with two fresh cards; what a test leaves on them is freed."""
    assert loaded.place(card_text()) is None
    loaded.runtime.cudaSetDevice(0)
    loaded.runtime.cudaGetLastError()
    loaded.core.vg_forget_refusals()
    yield loaded
    loaded.free_everything()
