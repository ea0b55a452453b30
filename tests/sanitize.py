"""Run the native contract tests on libraries that check themselves: `make sanitize`.

    python -m tests.sanitize [pytest arguments]

Builds the emulated libraries with gcc's AddressSanitizer and UndefinedBehaviorSanitizer into a temporary folder and runs
`tests/contract/native` on them, the model test with 10,000 operations. Then runs the tests with threads under ThreadSanitizer.
The CUDA headers are those of the folders in `CUDA_INCLUDE`, or of NVIDIA's wheels in this environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_vramguard.devices.emulated.native import build

HERE: Final = Path(__file__).parent
OPERATIONS: Final = 10_000
"""Of the model test."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sanitizer:
    """One way to build the libraries and the tests to run on it."""

    flags: tuple[str, ...]
    """For gcc, when compiling and when linking."""
    runtimes: tuple[str, ...]
    """Libraries that the interpreter, which is built without them, must load first."""
    options: dict[str, str]
    """Environment variables."""
    tests: tuple[str, ...]
    """Files of `tests/contract/native`; none for all of them."""


MEMORY: Final = Sanitizer(
    flags=("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"),
    runtimes=("libasan.so", "libubsan.so"),
    options={
        # Python never frees what it interns. The arena of device memory needs no option: it is a mapping of its own, which the
        # sanitizer leaves alone, and to touch it without the ledger's leave is a segmentation fault, which it reports.
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1:strict_string_checks=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    },
    tests=(),
)
THREADS: Final = Sanitizer(
    flags=("-fsanitize=thread", "-fno-omit-frame-pointer"),
    runtimes=("libtsan.so",),
    options={"TSAN_OPTIONS": "halt_on_error=1"},
    tests=("test_threads.py", "test_queue.py"),
)


def header_folders() -> list[Path]:
    """Return where the CUDA headers are."""
    if "CUDA_INCLUDE" in os.environ:
        return [Path(folder) for folder in os.environ["CUDA_INCLUDE"].split(os.pathsep)]
    folders = (Path(root) / place for root in sys.path for place in build.HEADER_PLACES)
    return [folder for folder in folders if folder.is_dir()]


def path_of(runtime: str) -> str:
    """Return where gcc keeps one of its own libraries.

    Raises:
        BuildError: gcc has no such library.
    """
    found = build.run("gcc", f"-print-file-name={runtime}").strip()
    if found == runtime:
        raise build.BuildError(f"{runtime}: not found by gcc; install the sanitizers of this gcc (Debian: libgcc-*-dev)")
    return found


def run(sanitizer: Sanitizer, arguments: list[str]) -> int:
    """Build with `sanitizer` and run its tests; returns pytest's exit status."""
    native = HERE / "contract/native"
    files = [native / name for name in sanitizer.tests] or [native]
    with tempfile.TemporaryDirectory() as folder:
        build.build(Path(folder), header_folders(), sanitizer.flags)
        env = {
            **os.environ,
            **sanitizer.options,
            "LD_PRELOAD": ":".join(map(path_of, sanitizer.runtimes)),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONMALLOC": "malloc",  # so that the buffers that tests hand over have guards around them too
            "VRAMGUARD_TEST_LIBRARIES": folder,
            "VRAMGUARD_TEST_OPERATIONS": str(OPERATIONS),
        }
        # Capturing file descriptors would swallow the report of a sanitizer that ends the process.
        quiet = ("-q", "-p", "no:cacheprovider", "--capture=sys")
        command = (sys.executable, "-m", "pytest", *quiet, *map(str, files), *arguments)
        return subprocess.run(command, env=env, cwd=HERE.parent, check=False).returncode


def main(arguments: list[str]) -> int:
    """Run both; returns the first exit status that is not 0."""
    try:
        return run(MEMORY, arguments) or run(THREADS, arguments)
    except build.BuildError as fault:
        sys.stderr.write(f"sanitize: {fault}\n")
        return 4


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
