"""Try the supported releases of torch one after the other: `make compat`.

    python -m tests.compat.walk [RELEASE...]

Makes an environment for each release of `eras.toml`, or for those that are named; installs that torch, the training stack of
its time and the wheel of this checkout; runs `suite.py` there; deletes the environment. Needs the package index, 10 GB of disk
for the time of one release, and for torch 2.1.2 a Python that it has wheels for.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_vramguard.errors import VramguardError
from pytest_vramguard.tables import reading
from tests.environments import install, make_environment

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
NEWEST: Final = "newest"


class WalkError(VramguardError):
    """The list of eras is at fault, or a release is asked for that it does not name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Era:
    """A release of torch and what people installed with it."""

    torch: str
    """The release, or `newest`."""
    cuda: str
    """How the release of CUDA that it was built for begins."""
    packages: tuple[str, ...]
    """Requirements of pip."""

    @property
    def requirements(self) -> tuple[str, ...]:
        """What pip installs; `===` because `==` would take a build such as `2.13.0+cpu` before the one for CUDA."""
        return ("torch" if self.torch == NEWEST else f"torch==={self.torch}", *self.packages)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How the suite ended for an era."""

    era: Era
    passed: bool
    versions: dict[str, str]
    """Of the report; empty if there is none."""
    allocated_bytes: dict[str, int]
    """Peak of each test that has one, by its name."""


def load_eras(path: Path = HERE / "eras.toml") -> tuple[Era, ...]:
    """Return the eras, in the order of the file.

    Raises:
        WalkError: the file is malformed.
    """
    with reading(path, WalkError) as root:
        return tuple(
            Era(torch=entry.string("torch"), cuda=entry.string("cuda"), packages=tuple(entry.strings("packages")))
            for entry in root.tables("eras")
        )


def chosen(eras: tuple[Era, ...], releases: list[str]) -> tuple[Era, ...]:
    """Return the eras of these releases; all of them for none.

    Raises:
        WalkError: a release is not in the list.
    """
    known = {era.torch: era for era in eras}
    for release in releases:
        if release not in known:
            raise WalkError(f"{release}: no such release, expected one of {', '.join(known)}; add it to tests/compat/eras.toml")
    return tuple(known[release] for release in releases) or eras


def build_wheel(folder: Path) -> Path:
    """Return a wheel of this checkout."""
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    return next(folder.glob("*.whl"))


def try_suite(era: Era, python: Path, folder: Path) -> Outcome:
    """Run the suite with the Python of an era, in a folder of its own, so that nothing of this checkout is imported."""
    shutil.copy(HERE / "suite.py", folder)
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    options = ("--vram-target", "rtx3060", "--vram-device", "emulated", "--vram-json", str(report))
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "suite.py"]
    asked = {"VRAMGUARD_TEST_TORCH": era.torch, "VRAMGUARD_TEST_CUDA": era.cuda, "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(command, cwd=folder, env={**os.environ, **asked}, check=False)
    cases = json.loads(report.read_text(encoding="utf-8"))["cases"] if report.exists() else []
    return Outcome(
        era=era,
        passed=ended.returncode == 0,
        versions=cases[0]["device"]["versions"] if cases else {},
        allocated_bytes={
            case["id"].partition("::")[2]: case["reading"]["peak_allocated_bytes"]
            for case in cases
            if "peak_allocated_bytes" in case["reading"]
        },
    )


def text_of(outcome: Outcome) -> str:
    """Return a line for people."""
    versions = " ".join(f"{name} {version}" for name, version in outcome.versions.items()) or f"torch {outcome.era.torch}"
    peaks = ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in outcome.allocated_bytes.items())
    return f"{'PASS' if outcome.passed else 'FAIL'}  {versions}\n      {peaks or 'nothing was measured'}"


def walk(era: Era, wheel: Path) -> Outcome:
    """Try one era, and delete what was installed for it."""
    with tempfile.TemporaryDirectory(prefix="vramguard-compat-") as folder:
        try:
            python = make_environment(Path(folder, "environment"))
            install(python, *era.requirements, str(wheel))
        except subprocess.CalledProcessError:  # pip has said why
            return Outcome(era=era, passed=False, versions={}, allocated_bytes={})
        return try_suite(era, python, Path(folder))


def main(releases: list[str]) -> int:
    """Walk the list; the status is 1 unless every release passed."""
    try:
        eras = chosen(load_eras(), releases)
    except WalkError as fault:
        sys.stderr.write(f"compat: {fault}\n")
        return fault.exit_code
    with tempfile.TemporaryDirectory(prefix="vramguard-wheel-") as folder:
        wheel = build_wheel(Path(folder))
        outcomes = []
        for era in eras:
            outcomes.append(walk(era, wheel))
            sys.stdout.write(f"{text_of(outcomes[-1])}\n")
    return 0 if all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
