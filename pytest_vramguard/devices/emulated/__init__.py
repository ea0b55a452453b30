"""The emulated card: CUDA libraries that keep the books instead of driving hardware, under the unmodified training stack."""

from pytest_vramguard.devices.emulated.device import EmulatedDevice

__all__ = ["EmulatedDevice"]
