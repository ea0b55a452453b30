"""The folder of baselines: `<target>/<device>/<case>.json`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from pytest_vramguard.baselines.file import PART_ENDING, read_baseline, write_baseline
from pytest_vramguard.errors import BaselineError
from pytest_vramguard.gates import NoBaseline

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_vramguard.baseline import Baseline

READABLE_LENGTH: Final = 100
"""Characters of a case's id in the name of its file; most file systems end at 255 bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineStore:
    """The baselines below `folder`, which may not exist yet."""

    folder: Path

    def path_of(self, case: str, target: str, device: str) -> Path:
        """Return where the baseline of a case belongs, whether it is there or not."""
        return self.folder / target / device / file_name(case)

    def find(self, case: str, target: str, device: str) -> Baseline | None:
        """Return the baseline of a case on a target and a kind of device; None if nobody has accepted one.

        Raises:
            BaselineError: there is a file, but it is faulty or belongs to another case.
        """
        path = self.path_of(case, target, device)
        return self.read(path) if path.exists() else None

    def reference(self, case: str, target: str, device: str, *, required: bool) -> Baseline | NoBaseline:
        """Return what a case is compared with, or why there is nothing; a faulty file is never passed over.

        `required`: whether a case without a baseline fails.
        """
        try:
            found = self.find(case, target, device)
        except BaselineError as fault:
            return NoBaseline(reason=str(fault), required=True)
        missing = f"no baseline in {self.path_of(case, target, device)}; next step: accept one with pytest --vram-accept"
        return found or NoBaseline(reason=missing, required=required)

    def read(self, path: Path) -> Baseline:
        """Return the baseline in a file of this store.

        Raises:
            BaselineError: the file is faulty, or lies where that of another case belongs.
        """
        baseline = read_baseline(path)
        place = self.path_of(baseline.case, baseline.target, baseline.device)
        if place != path:
            message = (
                f"{path}: holds {baseline.case} on {baseline.target} ({baseline.device}), expected that in {place}; move it"
            )
            raise BaselineError(message)
        return baseline

    def put(self, baseline: Baseline) -> Path:
        """Write a baseline where it belongs, and return the path.

        Raises:
            BaselineError: it cannot be written.
        """
        path = self.path_of(baseline.case, baseline.target, baseline.device)
        write_baseline(baseline, path)
        return path

    def paths(self) -> tuple[Path, ...]:
        """Return every file of the store, in the order of their names."""
        return tuple(sorted(self.folder.glob("*/*/*.json")))

    def remains(self) -> tuple[Path, ...]:
        """Return what processes that were killed while they wrote have left."""
        return tuple(sorted(self.folder.glob(f"*/*/.*{PART_ENDING}")))


def file_name(case: str, ending: str = ".json") -> str:
    """Return the name of a case's file: as much of its id as a file system takes, and a digest that tells like ones apart.

    >>> file_name("tests/test_fit.py::test_7b[nf4]")
    'tests.test_fit.py-test_7b-nf4-15795f9b.json'
    """
    readable = re.sub(r"[^A-Za-z0-9._]+", "-", case.replace("/", ".")).strip("-.")[-READABLE_LENGTH:].lstrip("-.")
    return f"{readable}-{sha256(case.encode()).hexdigest()[:8]}{ending}"
