"""Build the emulated CUDA libraries with gcc.

Each library is a few C files. What they do not define, but the library's list of public symbols names, becomes a stub:
`compute` and `reduction` symbols are counted, every other one refuses under its own name with the library's code for "not
supported". A function that is defined but not listed is a fault, so a misspelt name cannot go unnoticed.

This file imports nothing of the package, so that `setup.py` can run it before anything is installed.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

NATIVE = Path(__file__).parent
CORE_SONAME = "libvramguard_core.so"
CORE_SOURCES = ("card.c", "visible.c", "ledger.c", "contents.c", "journal.c", "queue.c")
FLAGS = ("-std=gnu11", "-O2", "-g", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")


@dataclass(frozen=True)
class Library:
    """One emulated library."""

    soname: str
    sources: tuple[str, ...]
    refusal_code: int
    """The library's own status for "not supported"."""
    versioned: bool
    """Whether the real library's symbols carry its SONAME as version."""


RUNTIME_SOURCES = ("cudart.c", "cudart_memory.c", "cudart_code.c", "cudart_queue.c")
DRIVER_SOURCES = ("cuda.c", "cuda_memory.c", "cuda_code.c", "cuda_queue.c")
LIBRARIES = (
    Library("libcudart.so.13", RUNTIME_SOURCES, 801, versioned=True),  # cudaErrorNotSupported
    Library("libcuda.so.1", DRIVER_SOURCES, 801, versioned=False),  # CUDA_ERROR_NOT_SUPPORTED
    Library("libcublas.so.13", ("cublas.c",), 15, versioned=True),  # CUBLAS_STATUS_NOT_SUPPORTED
    Library("libcublasLt.so.13", ("cublaslt.c",), 15, versioned=True),
    Library("libnccl.so.2", ("nccl.c", "nccl_buffers.c", "nccl_collectives.c"), 5, versioned=False),  # ncclInvalidUsage
    Library("libnvidia-ml.so.1", ("nvml.c",), 3, versioned=False),  # NVML_ERROR_NOT_SUPPORTED
)


class BuildError(Exception):
    """The libraries could not be built; the message says what is missing."""


def run(*command: str) -> str:
    """Run `command` and return what it printed.

    Raises:
        BuildError: it is not installed, or it failed.
    """
    try:
        return subprocess.run(command, check=True, text=True, capture_output=True).stdout
    except FileNotFoundError as fault:
        message = f"{command[0]}: not found, expected on the path; install gcc and binutils (Debian: apt install gcc)"
        raise BuildError(message) from fault
    except subprocess.CalledProcessError as fault:
        message = f"{' '.join(command)}:\n{fault.stderr}"
        raise BuildError(message) from fault


def compile_object(source: Path, target: Path, includes: list[Path], extra: tuple[str, ...]) -> None:
    """Compile one C file."""
    search = [flag for include in includes for flag in ("-isystem", str(include))]
    run("gcc", *FLAGS, *extra, f"-I{NATIVE}", *search, "-c", str(source), "-o", str(target))


def link(target: Path, soname: str, objects: list[Path], flags: list[str], extra: tuple[str, ...]) -> None:
    """Link a shared library that finds its neighbours beside it."""
    run("gcc", "-shared", *extra, "-Wl,-rpath,$ORIGIN", f"-Wl,-soname,{soname}", "-o", str(target), *map(str, objects), *flags)


def listed_symbols(soname: str) -> dict[str, str]:
    """Return the public symbols of a library and their kind: `compute`, `reduction` or the empty string."""
    lines = NATIVE.joinpath("symbols", f"{soname}.txt").read_text(encoding="utf-8").splitlines()
    return {name: kind for name, _, kind in (line.partition(" ") for line in lines)}


def defined_symbols(objects: list[Path]) -> set[str]:
    """Return the functions that object files define for others."""
    return set(re.findall(r" T (\w+)", run("nm", "--defined-only", *map(str, objects))))


def stub(name: str, kind: str, refusal_code: int) -> str:
    """Return the C text of a function that nobody wrote by hand.

    Callers pass arguments that the stub does not declare; the calling conventions of x86-64 and AArch64 allow that.
    """
    if kind == "compute":
        return f"int {name}(void) {{ vg_count(VG_COMPUTE_CALLS, 1); return 0; }}\n"
    if kind == "reduction":
        return f'int {name}(void *handle) {{ return vg_blas_reduction(handle, "{name}"); }}\n'
    return f'int {name}(void) {{ return vg_refuse("{name}", {refusal_code}); }}\n'


def stubs(library: Library, defined: set[str]) -> str:
    """Return the C text of every listed symbol that is not defined."""
    symbols = listed_symbols(library.soname)
    strangers = sorted(name for name in defined - symbols.keys() if not name.startswith("vg_"))
    if strangers:
        message = f"{library.soname}: {', '.join(strangers)}: expected names of symbols/{library.soname}.txt; correct them"
        raise BuildError(message)
    text = '#include "core.h"\nint vg_blas_reduction(void *handle, const char *name);\n'
    return text + "".join(stub(name, kind, library.refusal_code) for name, kind in symbols.items() if name not in defined)


def version_script(library: Library) -> str:
    """Return a linker script that exports the listed symbols alone."""
    names = "".join(f"    {name};\n" for name in listed_symbols(library.soname))
    return f"{library.soname if library.versioned else ''} {{\n  global:\n{names}  local: *;\n}};\n"


def build_library(library: Library, target: Path, scratch: Path, includes: list[Path], extra: tuple[str, ...]) -> None:
    """Build one emulated library into the folder `target`."""
    written = [scratch / f"{source}.o" for source in library.sources]
    missing = scratch / f"{library.soname}.stubs.o"
    exported_by_default = ("-fvisibility=default", *extra)
    for source, compiled in zip(library.sources, written, strict=True):
        compile_object(NATIVE / source, compiled, includes, exported_by_default)
    generated = scratch / f"{library.soname}.stubs.c"
    generated.write_text(stubs(library, defined_symbols(written)), encoding="utf-8")
    compile_object(generated, missing, includes, (*exported_by_default, "-fno-builtin"))
    script = scratch / f"{library.soname}.map"
    script.write_text(version_script(library), encoding="utf-8")
    flags = [f"-L{target}", f"-l:{CORE_SONAME}", "-ldl", "-lpthread", f"-Wl,--version-script,{script}"]
    link(target / library.soname, library.soname, [*written, missing], flags, extra)


def build(target: Path, includes: list[Path], extra: tuple[str, ...] = ()) -> None:
    """Build the core and every emulated library into the folder `target`.

    `includes` are folders with the CUDA 13 headers; `extra` goes to gcc, both when compiling and when linking.

    Raises:
        BuildError: gcc or a header is missing, or a source is faulty.
    """
    if not any((include / "cuda.h").exists() for include in includes):
        places = ", ".join(map(str, includes)) or "no folder"
        message = f"cuda.h: not found in {places}; install the wheels nvidia-cuda-runtime and nvidia-cuda-crt of CUDA 13"
        raise BuildError(message)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        objects = [scratch / f"{source}.o" for source in CORE_SOURCES]
        for source, compiled in zip(CORE_SOURCES, objects, strict=True):
            compile_object(NATIVE / source, compiled, includes, extra)
        link(target / CORE_SONAME, CORE_SONAME, objects, ["-lpthread"], extra)
        for library in LIBRARIES:
            build_library(library, target, scratch, includes, extra)
