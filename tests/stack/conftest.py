"""What tests on the emulated card share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from pytest_vramguard.devices.emulated.known.mode import KnownValues

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def values() -> Iterator[KnownValues]:
    """Run a module's operators on the emulated card with known values."""
    torch.cuda.init()
    with KnownValues() as mode:
        yield mode
