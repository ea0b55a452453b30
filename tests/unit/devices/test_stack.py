"""Tests of what is installed of the training stack, on packages that are nothing but their names and versions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from pytest_vramguard.devices.stack import TorchBuild, find_torch, installed_versions

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the only place where packages are looked for."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    return tmp_path


def install(site: Path, name: str, version: str) -> None:
    """Put the metadata of a package into `site`."""
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir()
    folder.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")


def install_torch(site: Path, version_file: str) -> None:
    """Put a torch into `site` that fails when it is imported."""
    package = site / "torch"
    package.mkdir()
    package.joinpath("__init__.py").write_text("raise AssertionError('imported')\n", encoding="utf-8")
    package.joinpath("version.py").write_text(version_file, encoding="utf-8")


class TestFindTorch:
    """The build of torch."""

    def test_no_torch_is_none(self, site: Path) -> None:
        """Where torch is not installed there is no build."""
        assert not list(site.iterdir())
        assert find_torch() is None

    @pytest.mark.parametrize(
        ("version_file", "build"),
        [
            (
                "__version__ = '2.14.1+cu130'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n",
                TorchBuild(version="2.14.1+cu130", cuda="13.0"),
            ),
            ("__version__ = '2.9.0+cpu'\ncuda: Optional[str] = None\n", TorchBuild(version="2.9.0+cpu", cuda=None)),
            ("__version__ = '2.9.0'\ncuda = '12.8'\n", TorchBuild(version="2.9.0", cuda="12.8")),
            ("cuda_note = '1'\nmy__version__ = '2'\n", TorchBuild(version="of unknown version", cuda=None)),
        ],
    )
    def test_the_build_is_read_without_an_import(self, site: Path, version_file: str, build: TorchBuild) -> None:
        """Version and CUDA release are what `version.py` assigns."""
        install_torch(site, version_file)

        assert build == find_torch()

    @pytest.mark.parametrize(("cuda", "major"), [("13.0", 13), ("12.8", 12), ("13", 13), (None, None)])
    def test_the_major_release_is_the_first_number(self, cuda: str | None, major: int | None) -> None:
        """The CUDA release is cut at its first dot; a build without CUDA has none."""
        assert major == TorchBuild(version="2.9.0", cuda=cuda).cuda_major


class TestInstalledVersions:
    """Names and versions of the stack."""

    def test_an_empty_environment_has_none(self, site: Path) -> None:
        """Nothing installed, nothing named."""
        assert not list(site.iterdir())
        assert () == installed_versions()

    def test_packages_are_named_in_the_order_of_the_stack(self, site: Path) -> None:
        """What is installed is named, what is missing or foreign is not, and the CUDA release comes last."""
        for name, version in (("peft", "0.21.2"), ("numpy", "2.0.0"), ("torch", "2.14.1"), ("accelerate", "1.10.0")):
            install(site, name, version)
        install_torch(site, "__version__ = '2.14.1+cu130'\ncuda: Optional[str] = '13.0'\n")

        expected = (("torch", "2.14.1"), ("peft", "0.21.2"), ("accelerate", "1.10.0"), ("cuda", "13.0"))
        assert expected == installed_versions()

    def test_a_build_without_cuda_names_no_release(self, site: Path) -> None:
        """A torch for the CPU adds no CUDA release."""
        install(site, "torch", "2.9.0")
        install_torch(site, "__version__ = '2.9.0+cpu'\ncuda: Optional[str] = None\n")

        assert (("torch", "2.9.0"),) == installed_versions()
