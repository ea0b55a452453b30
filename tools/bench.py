"""Print what the plugin costs: time and host memory of the 7B example, and what it adds to a run without vram tests.

    make bench

Every figure is a median of several runs, with the runs beside it, and is compared with the most that we allow ourselves. Nothing
fails here: times on a shared machine are for people to judge, so the test suite asserts none.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import Final

ROOT: Final = Path(__file__).parents[1]
RECIPE: Final = ROOT / "examples/recipes/llama2-7b-qlora.toml"
COLD_RUNS: Final = 3
FURTHER_CASES: Final = 3
PAIRS: Final = 15
"""Paired runs with and without the plugin, taken in turn, so that a slow minute of the machine hits both."""
IMPORTS: Final = 9

VRAM_TESTS: Final = f"""
import pytest

@pytest.mark.parametrize("number", range({1 + FURTHER_CASES}))
def test_7b_nf4(vram, number):
    vram.train({str(RECIPE)!r})
"""
DURATIONS: Final = """
import pathlib

def pytest_runtest_logreport(report):
    with pathlib.Path("durations.txt").open("a") as lines:
        lines.write(f"{report.nodeid} {report.duration}\\n")
"""
PLAIN_TESTS: Final = "".join(f"def test_{number}(): pass\n" for number in range(20))
IMPORT: Final = """
import time, pytest
begin = time.perf_counter()
import pytest_vramguard.plugin
print(time.perf_counter() - begin)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One line of the result."""

    name: str
    runs: tuple[float, ...]
    unit: str
    most: float | None
    """What we allow ourselves, in `unit`; None where nothing was promised."""

    def __str__(self) -> str:
        """Return the median, its share of what is allowed, and the runs."""
        middle = median(self.runs)
        share = "" if self.most is None else f"{middle / self.most:6.2f} of {self.most:g} {self.unit}"
        runs = " ".join(f"{run:.2f}" for run in sorted(self.runs))
        return f"{self.name:<46}{middle:9.2f} {self.unit:<4}{share:<20}runs: {runs}"


def run(folder: Path, *arguments: str) -> tuple[float, float]:
    """Run Python in `folder`; return seconds from start to exit, and the peak of its host memory in GiB.

    The peak is that of the process itself, as the kernel counts it: resident, with the pages of shared libraries that it touched.
    """
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(arguments)}: exit status {process.returncode}; run it in {folder} to see why")
    return time.perf_counter() - begin, usage.ru_maxrss / 2**20


def project(folder: Path, **files: str) -> Path:
    """Write Python files into a new folder and return it."""
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.py").write_text(dedent(text), encoding="utf-8")
    return folder


def cold_figures(folder: Path) -> tuple[Figure, Figure]:
    """Return time and host memory of a run with one 7B case, each in a new process."""
    test = ("-m", "pytest", "-p", "no:cacheprovider", "--vram-target", "rtx3060", "test_vram.py::test_7b_nf4[0]")
    seconds, gib = zip(*(run(folder, *test) for _ in range(COLD_RUNS)), strict=True)
    return (
        Figure(name="7B nf4, start of the process to its exit", runs=seconds, unit="s", most=15),
        Figure(name="7B nf4, peak of host memory", runs=gib, unit="GiB", most=2),
    )


def further_figure(folder: Path) -> Figure:
    """Return the time of each case on the same model after the first in one process: set-up, run and tear-down."""
    (folder / "durations.txt").unlink(missing_ok=True)
    run(folder, "-m", "pytest", "-p", "no:cacheprovider", "--vram-target", "rtx3060")
    seconds: dict[str, float] = {}
    for line in (folder / "durations.txt").read_text(encoding="utf-8").splitlines():
        name, duration = line.rsplit(" ", 1)
        seconds[name] = seconds.get(name, 0) + float(duration)
    return Figure(name="7B nf4, each further case", runs=tuple(seconds.values())[1:], unit="s", most=5)


def collection_figure(folder: Path) -> Figure:
    """Return what the plugin adds to `pytest --co` in a project without vram tests: differences of paired runs."""
    collect = ("-m", "pytest", "--co", "-q", "-p", "no:cacheprovider")
    run(folder, *collect)  # writes the bytecode
    differences = [run(folder, *collect)[0] - run(folder, *collect, "-p", "no:vramguard")[0] for _ in range(PAIRS)]
    return Figure(
        name="pytest --co without vram tests, with - without",
        runs=tuple(1000 * each for each in differences),
        unit="ms",
        most=10,
    )


def import_figure() -> Figure:
    """Return the time of importing the plugin where pytest is imported already."""
    printed = [
        subprocess.run([sys.executable, "-c", IMPORT], check=True, capture_output=True, text=True) for _ in range(IMPORTS)
    ]
    return Figure(
        name="import pytest_vramguard.plugin", runs=tuple(1000 * float(each.stdout) for each in printed), unit="ms", most=None
    )


def main() -> None:
    """Print every figure as soon as it is there."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    load = os.getloadavg()[0]
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f} (above 0.5 the times say little)",
        flush=True,
    )
    with TemporaryDirectory(prefix="vramguard-bench-") as scratch:
        plain = project(Path(scratch, "plain"), test_plain=PLAIN_TESTS)
        vram = project(Path(scratch, "vram"), test_vram=VRAM_TESTS, conftest=DURATIONS)
        print(import_figure(), flush=True)
        print(collection_figure(plain), flush=True)
        print(*cold_figures(vram), sep="\n", flush=True)
        print(further_figure(vram), flush=True)


if __name__ == "__main__":
    main()
