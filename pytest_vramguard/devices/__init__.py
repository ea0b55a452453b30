"""Devices: a real card, or an emulated one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_vramguard.devices.base import Device

if TYPE_CHECKING:
    from typing import Literal

    DeviceChoice = Literal["auto", "cuda", "emulated"]

__all__ = ["Device", "real_card_present", "select_device"]


def real_card_present() -> bool:
    """Return whether this machine has a card that torch may use.

    Looks at device files, not at the driver's library: once loaded, that library would stay in the place of the emulated one.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}:
        return False
    return Path("/dev/dxg").exists() or any(Path("/dev").glob("nvidia[0-9]*"))


def select_device(choice: DeviceChoice) -> Device:
    """Return the device for `choice`; `auto` takes a real card if there is one, else the emulated one."""
    if choice == "cuda" or (choice == "auto" and real_card_present()):
        from pytest_vramguard.devices.cuda import CudaDevice

        return CudaDevice()
    from pytest_vramguard.devices.emulated import EmulatedDevice

    return EmulatedDevice()
