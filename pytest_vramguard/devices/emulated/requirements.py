"""What the emulated card needs of the machine and of torch."""

from __future__ import annotations

import platform
import sys
from typing import Final

from pytest_vramguard.devices.emulated import libraries
from pytest_vramguard.devices.stack import find_torch
from pytest_vramguard.errors import DeviceUnavailable

CUDA_MAJORS: Final = tuple(libraries.SONAMES_BY_MAJOR)
"""CUDA releases whose libraries are emulated."""


def require_emulation() -> None:
    """Raise DeviceUnavailable unless this is a machine that can load the emulated libraries, and has them."""
    system = f"{platform.system()} {platform.machine()}"
    if system != "Linux x86_64":
        message = (
            f"emulated card: this is {system}, expected Linux x86_64; run there, or on a real card with --vram-device cuda"
        )
        raise DeviceUnavailable(message)
    if not libraries.built():
        message = (
            "emulated card: its libraries are missing; reinstall: pip install --force-reinstall --no-deps pytest-vramguard"
        )
        raise DeviceUnavailable(message)


def require_torch() -> int:
    """Return the major of CUDA that the installed torch was built for.

    Raises:
        DeviceUnavailable: there is no fitting torch, or it was imported without the emulated libraries.
    """
    build = find_torch()
    if build is None:
        message = "torch: not installed, expected a CUDA build; install it: pip install 'pytest-vramguard[train]'"
        raise DeviceUnavailable(message)
    if build.cuda_major is None or build.cuda_major not in CUDA_MAJORS:
        message = f"torch {build.version}: {mismatch(build.cuda)}; install that build: pip install --force-reinstall torch"
        raise DeviceUnavailable(message)
    if "torch" in sys.modules and not libraries.loaded():
        message = (
            "torch: imported before the emulated card could be put in place, expected afterwards; name a target for the whole "
            "run (--vram-target, or [tool.vramguard] target), and import torch in no pytest plugin that is loaded earlier"
        )
        raise DeviceUnavailable(message)
    return build.cuda_major


def mismatch(cuda: str | None) -> str:
    """Return what is wrong with a build of torch for the CUDA version `cuda`, as found and expected."""
    return f"{f'built for CUDA {cuda}' if cuda else 'a build without CUDA'}, expected CUDA {' or '.join(map(str, CUDA_MAJORS))}"
