"""The environment of each era: made on demand, thrown away unless it shall be kept."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from threading import RLock
from typing import Final

from pytest_vramguard.errors import VramguardError
from pytest_vramguard.tables import reading
from tests.environments import install, make_environment

HERE: Final = Path(__file__).parent
TODAY: Final = "today"
"""Key of the environment that this process runs in."""
INSTALLED: Final = "installed"
"""File in an environment, or in a folder of a package, that is whole."""


class EraError(VramguardError):
    """The list of eras is at fault, or a key is asked for that it does not name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Era:
    """A release of torch and what was used with it."""

    key: str
    torch: str
    packages: tuple[str, ...]


def load_eras(path: Path = HERE / "eras.toml") -> dict[str, Era]:
    """Return the eras by key.

    Raises:
        EraError: the file is malformed.
    """
    with reading(path, EraError) as root:
        eras = [
            Era(key=entry.string("key"), torch=entry.string("torch"), packages=tuple(entry.strings("packages")))
            for entry in root.tables("eras")
        ]
    return {era.key: era for era in eras}


class Environments:
    """Environments in one folder, a folder each; and packages of other releases beside them, a folder each too.

    Safe to ask from several threads.
    """

    def __init__(self, folder: Path | None, *, keep: bool) -> None:
        """Use `folder`, or a temporary one."""
        self._folder = folder or Path(mkdtemp(prefix="vramguard-fidelity-"))
        self._keep = keep
        self._made = [] if folder else [self._folder]
        self._eras = load_eras()
        self._lock = RLock()

    def python(self, key: str) -> Path:
        """Return the Python of an era, which is installed first where it is missing.

        Raises:
            EraError: no era has this key.
            subprocess.CalledProcessError: pip could not install it, and has said why.
        """
        if key == TODAY:
            return Path(sys.executable)
        if key not in self._eras:
            raise EraError(f"{key}: no such era, expected one of {', '.join(self._eras)}; add it to tests/fidelity/eras.toml")
        environment = self._folder / key
        python, whole = environment / "bin/python", environment / INSTALLED
        with self._lock:
            if not whole.exists():
                self._made.append(environment)
                era = self._eras[key]
                shutil.rmtree(environment, ignore_errors=True)  # of a run that was killed while it installed
                make_environment(environment)
                install(python, f"torch==={era.torch}", *era.packages)  # === would else find a build for the processor alone
                whole.touch()
        return python

    def package(self, key: str, requirement: str) -> Path:
        """Return a folder with this release of a pure package, to stand on the path before that of the era."""
        folder = self._folder / "packages" / requirement.replace("==", "-")
        with self._lock:
            if not (folder / INSTALLED).exists():
                self._made.append(folder)
                shutil.rmtree(folder, ignore_errors=True)
                install(self.python(key), "--no-deps", "--target", str(folder), requirement)
                (folder / INSTALLED).touch()
        return folder

    def close(self) -> None:
        """Delete what was made here."""
        if not self._keep:
            for folder in self._made:
                shutil.rmtree(folder, ignore_errors=True)
