"""Build the emulated CUDA libraries while the package is built; everything else stands in pyproject.toml."""

import importlib.util
import platform
import sys
import sysconfig
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
EMULATED = Path("pytest_vramguard/devices/emulated")
SUPPORTED = sys.platform == "linux" and platform.machine() in {"x86_64", "aarch64"}


def native_build():
    """Return the module that builds the libraries, loaded without importing the package."""
    spec = importlib.util.spec_from_file_location("native_build", HERE / EMULATED / "native/build.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def header_folders():
    """Return where the wheels of NVIDIA put the CUDA headers in this environment."""
    roots = sorted({Path(place) for place in (*sys.path, sysconfig.get_path("purelib"))})
    return [root / place for root in roots for place in native_build().HEADER_PLACES if (root / place).is_dir()]


class BuildWithLibraries(build_py):
    """Copies the Python files, then builds the libraries beside them."""

    def run(self):
        """Build; on a system without emulation the package is installed without the libraries and says so when asked."""
        super().run()
        if not SUPPORTED:
            return
        root = HERE if self.editable_mode else Path(self.build_lib)
        native = native_build()
        try:
            native.build(root / EMULATED / "lib", header_folders())
        except native.BuildError as fault:
            sys.exit(f"pytest-vramguard: {fault}")


class PlatformWheel(bdist_wheel):
    """A wheel for one platform and any Python 3: the libraries know nothing of Python."""

    def get_tag(self):
        """Return the tag of the wheel."""
        return "py3", "none", super().get_tag()[2]


class WithLibraries(Distribution):
    """Tells setuptools that the wheel is not pure."""

    def has_ext_modules(self):
        """Return whether there are compiled files."""
        return SUPPORTED


setup(cmdclass={"build_py": BuildWithLibraries, "bdist_wheel": PlatformWheel}, distclass=WithLibraries)
