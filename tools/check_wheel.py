"""Fail unless a wheel holds every file of the package that the checkout has, and every native library.

    python tools/check_wheel.py dist/*.whl

A file that the packaging forgets is not missed in a checkout, whose tests read it from there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]


def files_of_package() -> set[str]:
    """Return the files of the package in the checkout, relative to it, caches left out."""
    files = (path for path in (ROOT / "pytest_vramguard").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in files}


def main(wheel: Path) -> str | None:
    """Return what `wheel` lacks, or None."""
    missing = files_of_package() - set(ZipFile(wheel).namelist())
    if missing:
        return f"{wheel.name}: lacks {', '.join(sorted(missing))}; add them to package-data in pyproject.toml"
    print(f"{wheel.name}: complete")
    return None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
