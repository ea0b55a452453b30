"""A training step of ten lines on one device; `vramguard doctor` runs it as `python -m pytest_vramguard.devices.trial KIND`.

Prints what it measured and exits with 0; or prints what is wrong on stderr and exits with 1 or, if it can be mended, with 4.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from pytest_vramguard.cards import load_catalogue
from pytest_vramguard.devices import select_device
from pytest_vramguard.errors import DeviceUnavailable, VramguardError
from pytest_vramguard.units import size_text

if TYPE_CHECKING:
    from pytest_vramguard.devices import DeviceChoice

CARD: Final = "a100-80"
"""The step is tried on this one: every build of torch for CUDA 12 or 13 has kernels for it."""


def step(choice: DeviceChoice) -> str:
    """Train a small model for one step; return what it took.

    Raises:
        DeviceUnavailable: the device cannot be had, or could not answer what torch asked.
    """
    device, card = select_device(choice), load_catalogue(()).find(CARD)
    device.enter(card)
    import torch

    device.place(card)
    with device.running():
        model = torch.nn.Linear(1024, 1024).cuda()
        optimizer = torch.optim.AdamW(model.parameters())
        model(torch.randn(64, 1024).cuda()).square().mean().backward()
        optimizer.step()
    if device.gaps():
        raise DeviceUnavailable("; ".join(device.gaps()))
    return f"a training step took {size_text(torch.cuda.max_memory_allocated())} of {torch.cuda.get_device_name()}"


def main(choice: DeviceChoice) -> int:
    """Print how the step ended; return the exit status."""
    try:
        sys.stdout.write(f"{step(choice)}\n")
    except VramguardError as fault:
        sys.stderr.write(f"{fault}\n")
        return fault.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))  # type: ignore[arg-type] # a kind of device, or select_device would fail
