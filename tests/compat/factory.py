"""Try LLaMA-Factory's own command on its own examples: `make factory`.

    python -m tests.compat.factory

Makes an environment with the release of LLaMA-Factory that is named here, whose pins are not those of this project; unpacks its
source distribution, which has the examples; runs `factory_suite.py` there; deletes all of it. Needs the package index and 8 GB
of disk for the time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from tests.compat.walk import HERE, build_wheel
from tests.environments import install as pip_install
from tests.environments import make_environment

LLAMAFACTORY: Final = "llamafactory==0.9.5"
TORCH: Final = "torch===2.14.1"
"""Below no upper bound of LLaMA-Factory; the newest that `eras.toml` names."""
FOR_THE_TESTS: Final = ("bitsandbytes==0.50.2", "hatchling")
"""bitsandbytes is an extra of LLaMA-Factory; hatchling is what pip builds the metadata of its source distribution with."""
SUITE: Final = "factory_suite.py"
SOURCE_VARIABLE: Final = "VRAMGUARD_TEST_SOURCE"
"""Environment variable with the folder of the unpacked source distribution."""


def install(wheel: Path, environment: Path) -> Path:
    """Make the environment; return its Python.

    uv installs, since pip goes through release after release of what gradio needs for minutes and does not come to an end.
    """
    python = make_environment(environment)
    pip_install(python, "uv")
    uv = (python, "-m", "uv", "pip", "install", "--quiet", "--no-cache", "--python", python)
    subprocess.run([*uv, TORCH, LLAMAFACTORY, *FOR_THE_TESTS, wheel], check=True)
    return python


def unpack_source(python: Path, folder: Path) -> Path:
    """Return the folder of the source distribution, unpacked below `folder`."""
    pip = (python, "-m", "pip", "download", "--quiet", "--no-cache-dir", "--no-deps", "--no-build-isolation")
    subprocess.run([*pip, "--no-binary", "llamafactory", "--dest", folder, LLAMAFACTORY], check=True)
    archive = next(folder.glob("llamafactory-*.tar.gz"))
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def main() -> int:
    """Return the status of the suite; 1 if something could not be installed."""
    with tempfile.TemporaryDirectory(prefix="vramguard-factory-") as name:
        folder = Path(name)
        try:
            python = install(build_wheel(folder), folder / "environment")
            source = unpack_source(python, folder)
        except subprocess.CalledProcessError as exc:  # pip or uv has said why
            sys.stderr.write(f"factory: {Path(exc.cmd[0]).name}: ended with status {exc.returncode}, expected 0; see above\n")
            return 1
        shutil.copy(HERE / SUITE, folder)
        command = [str(python), "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", SUITE]
        asked = {SOURCE_VARIABLE: str(source), "HF_HUB_OFFLINE": "1"}
        return subprocess.run(command, cwd=folder, env={**os.environ, **asked}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
