"""Finds out what this machine and its training stack allow. The steps are tried in processes of their own.

A process that has loaded one sort of CUDA libraries cannot try the other, and one that fails may end.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from pytest_vramguard.devices import real_card_present
from pytest_vramguard.devices.emulated.libraries import UUID_PREFIX
from pytest_vramguard.devices.stack import find_torch, installed_versions
from pytest_vramguard.examination import Examination, RealCard, Trial

if TYPE_CHECKING:
    from pytest_vramguard.examination import DeviceKind

TRIAL_SECONDS: Final = 300
"""After which a step counts as failed; most of it is the import of torch from a slow disk."""


def examine() -> Examination:
    """Look, and try a training step on each device that there is."""
    build = find_torch()
    driver, cards = _driver()
    return Examination(
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=build.version if build else None,
        cuda=build.cuda if build else None,
        packages=tuple((name, version) for name, version in installed_versions() if name not in {"torch", "cuda"}),
        driver=driver,
        real_cards=cards,
        cuda_trial=_tried("cuda") if real_card_present() else None,
        emulation=_tried("emulated"),
    )


def _driver() -> tuple[str | None, tuple[RealCard, ...]]:
    """Return the driver's version and its cards, without emulated ones, which are there below `vramguard run`."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        real = [handle for handle in handles if UUID_PREFIX not in pynvml.nvmlDeviceGetUUID(handle)]
        cards = tuple(
            RealCard(name=pynvml.nvmlDeviceGetName(handle), total_bytes=pynvml.nvmlDeviceGetMemoryInfo(handle).total)
            for handle in real
        )
        emulated_alone = bool(handles) and not real
        return None if emulated_alone else str(pynvml.nvmlSystemGetDriverVersion()), cards
    except pynvml.NVMLError:
        return None, ()


def _tried(kind: DeviceKind) -> Trial:
    """Return how the step ends on a device."""
    command = (sys.executable, "-m", "pytest_vramguard.devices.trial", kind)
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TRIAL_SECONDS)
    except subprocess.TimeoutExpired:
        return Trial(works=False, account=f"the step did not end within {TRIAL_SECONDS} s; try it: {' '.join(command)}")
    lines = (ended.stdout if ended.returncode == 0 else ended.stderr).strip().splitlines()
    return Trial(works=ended.returncode == 0, account=lines[-1] if lines else f"the step ended with status {ended.returncode}")
