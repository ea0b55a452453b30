"""Machines on which a card cannot be put in place say so, and let no vram test pass."""

from __future__ import annotations

from typing import Final

import pytest

from tests.plugin.projects import run_in

CASE: Final = "import pytest\n@pytest.mark.vram\ndef test_case(): pass\ndef test_plain(): pass\n"
CUDA_13: Final = "__version__ = '2.14.1+cu130'\ncuda: Optional[str] = '13.0'\n"
TARGET: Final = ("--vram-target", "rtx3060", "--vram-device")
# Each is loaded with -p, and so before our plugin.
NOT_LINUX: Final = "import platform\nplatform.system = lambda: 'Darwin'\nplatform.machine = lambda: 'arm64'\n"
NO_TORCH: Final = "import sys\nsys.modules['torch'] = None\n"
EARLY_TORCH: Final = "import torch\n"


def project(pytester: pytest.Pytester, *, version: str = CUDA_13, early: str = "") -> None:
    """Make a project with a vram test, a torch that consists of its version, and the plugin `early`."""
    pytester.makepyfile(test_a=CASE, early=early)
    package = pytester.mkpydir("torch")
    (package / "version.py").write_text(version, encoding="utf-8")


@pytest.mark.parametrize(
    ("version", "device", "message"),
    [
        (
            "__version__ = '2.9.0+cpu'\ncuda: Optional[str] = None\n",
            "emulated",
            "torch 2.9.0+cpu: a build without CUDA, expected CUDA 12 or 13; "
            "install that build: pip install --force-reinstall torch",
        ),
        (
            "__version__ = '2.1.2+cu118'\ncuda: Optional[str] = '11.8'\n",
            "emulated",
            "torch 2.1.2+cu118: built for CUDA 11.8, expected CUDA 12 or 13; "
            "install that build: pip install --force-reinstall torch",
        ),
        (
            "__version__ = '2.9.0+cpu'\ncuda: Optional[str] = None\n",
            "cuda",
            "torch: 2.9.0+cpu is a build without CUDA, expected a CUDA build; "
            "install it: pip install 'pytest-vramguard[train]'",
        ),
    ],
    ids=["no CUDA", "other CUDA", "no CUDA for a real card"],
)
def test_a_wrong_build_of_torch_is_a_usage_error(pytester: pytest.Pytester, version: str, device: str, message: str) -> None:
    """The build is known from its version file, without importing it."""
    project(pytester, version=version)

    run = run_in(pytester, *TARGET, device)

    assert run.is_clean_usage_error
    assert [message] == run.usage_errors


@pytest.mark.parametrize(
    ("early", "beginning"),
    [
        (NO_TORCH, "torch: not installed, expected a CUDA build; "),
        (NOT_LINUX, "emulated card: this is Darwin arm64, expected Linux x86_64; "),
        (EARLY_TORCH, "torch: imported before the emulated card could be put in place, expected afterwards; "),
    ],
    ids=["no torch", "not Linux", "torch too early"],
)
def test_a_process_that_cannot_emulate_is_a_usage_error(pytester: pytest.Pytester, early: str, beginning: str) -> None:
    """The message says what this machine is or lacks, or that torch has found its libraries already, and what to do."""
    project(pytester, early=early)

    run = run_in(pytester, "-p", "early", *TARGET, "emulated")

    assert run.is_clean_usage_error
    assert 1 == len(run.usage_errors)
    assert run.usage_errors[0].startswith(beginning)


def test_a_device_that_cannot_be_had_stops_vram_tests_alone(pytester: pytest.Pytester) -> None:
    """With the target in a file, a machine without a device still runs all other tests, and no vram test."""
    project(pytester, early=NOT_LINUX)
    pytester.makepyprojecttoml('[tool.vramguard]\ntarget = "rtx3060"\ndevice = "emulated"')

    run = run_in(pytester, "-p", "early")
    other = run_in(pytester, "-p", "early", "-k", "plain")

    assert run.is_clean_usage_error
    assert run.usage_errors[0].startswith("test_a.py::test_case: emulated card: this is Darwin arm64, expected Linux x86_64; ")
    assert {"passed": 1, "deselected": 1} == other.result.parseoutcomes()
