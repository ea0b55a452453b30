"""What a real card cannot do."""

from __future__ import annotations

import pytest

from pytest_vramguard.devices.cuda import CudaDevice
from pytest_vramguard.errors import DeviceUnavailable


def test_one_rank_needs_an_emulated_card() -> None:
    """A real card cannot stand for one of several ranks, which would wait for the others."""
    with pytest.raises(DeviceUnavailable, match=r"^rank 0 of 8: .*, expected an emulated one; use --vram-device emulated$"):
        CudaDevice().ranked(0, 8)
