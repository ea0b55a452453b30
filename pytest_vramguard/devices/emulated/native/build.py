"""Build the emulated CUDA libraries with gcc.

Each library is a few C files. What they do not define, but the library's list of public symbols names, becomes a stub:
`compute` and `reduction` symbols are counted, every other one refuses under its own name with the library's code for "not
supported". A function that is defined but not listed is a fault, so a misspelt name cannot go unnoticed.

A library whose name differs between the majors of CUDA is built once for each, from the same files, against the headers of
that major. Those that have one name for both (the driver, NCCL, NVML, cuSPARSE, cuRAND) are built against the headers of the
newest.

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
CORE_SOURCES = (
    "card.c",
    "visible.c",
    "arena.c",
    "ledger.c",
    "virtual.c",
    "pools.c",
    "contents.c",
    "journal.c",
    "handles.c",
    "queue.c",
    "captures.c",
    "synchronise.c",
    "graphs.c",
)
STUB_SECTION = "vramguard_stubs"
"""Section of a library that holds what was generated, so that a test can tell it from what was written."""
COUNTED = "static inline int vg_compute(const void *first) { (void)first; vg_count(VG_COMPUTE_CALLS, 1); return 0; }\n"
"""What a computation does in a library that has no `vg_compute` of its own, which would know the stream of a handle."""
RELEASES = {12: 12090, 13: 13000}
"""Majors of CUDA and the release that each answers for: the newest 12, for whose faults no code has a detour, and 13.0."""
HEADER_WHEELS = {
    12: "the wheel nvidia-cuda-runtime-cu12",
    13: "the wheels nvidia-cuda-runtime and nvidia-cuda-crt of CUDA 13",
}
HEADER_PLACES = ("nvidia/cuda_runtime/include", "nvidia/cu13/include")
"""Where these wheels put the headers, below the folder of installed packages."""
FLAGS = ("-std=gnu11", "-O2", "-g", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")


@dataclass(frozen=True)
class Library:
    """One emulated library."""

    soname: str
    sources: tuple[str, ...]
    refusal_code: int
    """The library's own status for "not supported"."""
    versioned: bool
    """Whether the real library's symbols carry a version."""
    own_version: str = ""
    """That version where it is not the SONAME."""
    major: int = 13
    """Major of CUDA whose headers it is compiled against, and for which it answers."""
    flags: tuple[str, ...] = ()
    """What else gcc is told of its sources."""

    @property
    def symbol_version(self) -> str:
        """The version that the symbols carry; empty for none."""
        return (self.own_version or self.soname) if self.versioned else ""


RUNTIME_SOURCES = (
    "cudart.c",
    "cudart_memory.c",
    "cudart_pools.c",
    "cudart_binaries.c",
    "cudart_code.c",
    "cudart_queue.c",
    "cudart_graphs.c",
)
DRIVER_SOURCES = ("cuda.c", "cuda_memory.c", "cuda_virtual.c", "cuda_pools.c", "cuda_code.c", "cuda_queue.c", "cuda_graphs.c")
CUDNN_SOURCES = ("cudnn.c", "cudnn_graph.c", "cudnn_workspace.c")
LIBRARIES = (
    Library("libcudart.so.13", RUNTIME_SOURCES, 801, versioned=True),  # cudaErrorNotSupported
    Library("libcudart.so.12", (*RUNTIME_SOURCES, "cudart_12.c"), 801, versioned=True, major=12),
    Library("libcuda.so.1", DRIVER_SOURCES, 801, versioned=False),  # CUDA_ERROR_NOT_SUPPORTED
    Library("libcublas.so.13", ("cublas.c",), 15, versioned=True),  # CUBLAS_STATUS_NOT_SUPPORTED
    Library("libcublas.so.12", ("cublas.c",), 15, versioned=True, major=12),
    Library("libcublasLt.so.13", ("cublaslt.c",), 15, versioned=True),
    Library("libcublasLt.so.12", ("cublaslt.c",), 15, versioned=True, major=12),
    Library("libnccl.so.2", ("nccl.c", "nccl_buffers.c", "nccl_collectives.c"), 5, versioned=False),  # ncclInvalidUsage
    Library("libnvidia-ml.so.1", ("nvml.c",), 3, versioned=False),  # NVML_ERROR_NOT_SUPPORTED
    Library("libcusolver.so.12", ("cusolver.c",), 9, versioned=True),  # CUSOLVER_STATUS_NOT_SUPPORTED
    Library("libcusparse.so.12", ("cusparse.c",), 10, versioned=True),  # CUSPARSE_STATUS_NOT_SUPPORTED
    Library("libcusparseLt.so.0", ("cusparselt.c",), 10, versioned=False),
    Library("libcusolver.so.11", ("cusolver.c",), 9, versioned=True, major=12),
    Library("libcufft.so.12", ("cufft.c",), 16, versioned=True),  # CUFFT_NOT_SUPPORTED
    Library("libcufft.so.11", ("cufft.c",), 16, versioned=True, major=12),
    Library("libcudnn.so.9", (*CUDNN_SOURCES, "cudnn_9.c"), 3000, versioned=True),  # CUDNN_STATUS_NOT_SUPPORTED
    Library("libcudnn.so.8", CUDNN_SOURCES, 9, versioned=True, major=12, flags=("-DVG_CUDNN_8",)),
    Library("libcurand.so.10", ("curand.c",), 204, versioned=True),  # CURAND_STATUS_ARCH_MISMATCH
    Library("libcufile.so.0", ("cufile.c",), 5009, versioned=False),  # CU_FILE_DEVICE_NOT_SUPPORTED
    Library("libcupti.so.13", ("cupti.c",), 27, versioned=True),  # CUPTI_ERROR_NOT_SUPPORTED
    Library("libcupti.so.12", ("cupti.c",), 27, versioned=True, major=12),
    Library("libnvJitLink.so.13", ("nvjitlink.c",), 6, versioned=True),  # NVJITLINK_ERROR_INTERNAL
    Library("libnvJitLink.so.12", ("nvjitlink.c",), 6, versioned=True, major=12),
    Library("libnvshmem_host.so.3", ("nvshmem.c",), 3, versioned=True, own_version="NVSHMEM"),  # NVSHMEMX_ERROR_NOT_SUPPORTED
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
        return f"STUB int {name}(const void *first) {{ return vg_compute(first); }}\n"
    if kind == "reduction":
        return f'STUB int {name}(void *handle) {{ return vg_blas_reduction(handle, "{name}"); }}\n'
    return f'STUB int {name}(void) {{ return vg_refuse("{name}", {refusal_code}); }}\n'


def stubs(library: Library, defined: set[str]) -> str:
    """Return the C text of every listed symbol that is not defined."""
    symbols = listed_symbols(library.soname)
    strangers = sorted(name for name in defined - symbols.keys() if not name.startswith("vg_"))
    if strangers:
        message = f"{library.soname}: {', '.join(strangers)}: expected names of symbols/{library.soname}.txt; correct them"
        raise BuildError(message)
    text = f'#include "core.h"\n#define STUB __attribute__((section("{STUB_SECTION}")))\n'
    text += "int vg_compute(const void *first);\n" if "vg_compute" in defined else COUNTED
    text += "int vg_blas_reduction(void *handle, const char *name);\n"
    return text + "".join(stub(name, kind, library.refusal_code) for name, kind in symbols.items() if name not in defined)


def version_script(library: Library) -> str:
    """Return a linker script that exports the listed symbols alone."""
    names = "".join(f"    {name};\n" for name in listed_symbols(library.soname))
    return f"{library.symbol_version} {{\n  global:\n{names}  local: *;\n}};\n"


def major_of(include: Path) -> int | None:
    """Return the major of CUDA whose `cuda.h` lies in a folder; None if there is none."""
    header = include / "cuda.h"
    found = re.search(r"#define CUDA_VERSION (\d+)", header.read_text(encoding="utf-8")) if header.exists() else None
    return int(found[1]) // 1000 if found else None


def sort_headers(includes: list[Path]) -> dict[int, list[Path]]:
    """Return where to look for headers, by major: the folders of that major first.

    The others follow, since the wheel of CUDA 12 leaves out `crt`, whose few definitions for host code are those of CUDA 13.

    Raises:
        BuildError: the headers of a major are in none of the folders.
    """
    majors = {include: major_of(include) for include in includes}
    for major, wheels in HEADER_WHEELS.items():
        if major not in majors.values():
            places = ", ".join(map(str, includes)) or "no folder"
            message = f"cuda.h of CUDA {major}: not found in {places}; install {wheels}"
            raise BuildError(message)
    return {major: sorted(includes, key=lambda include: majors[include] != major) for major in RELEASES}


def build_library(library: Library, target: Path, scratch: Path, includes: list[Path], extra: tuple[str, ...]) -> None:
    """Build one emulated library into the folder `target`."""
    written = [scratch / f"{source}.o" for source in library.sources]
    missing = scratch / f"{library.soname}.stubs.o"
    exported_by_default = ("-fvisibility=default", f"-DVG_CUDA_RELEASE={RELEASES[library.major]}", *library.flags, *extra)
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

    `includes` are folders with the headers of each major of CUDA; `extra` goes to gcc, both when compiling and when linking.

    Raises:
        BuildError: gcc or a header is missing, or a source is faulty.
    """
    headers = sort_headers(includes)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        objects = [scratch / f"{source}.o" for source in CORE_SOURCES]
        for source, compiled in zip(CORE_SOURCES, objects, strict=True):
            compile_object(NATIVE / source, compiled, headers[max(RELEASES)], extra)
        link(target / CORE_SONAME, CORE_SONAME, objects, ["-lpthread"], extra)
        for library in LIBRARIES:
            build_library(library, target, scratch, headers[library.major], extra)
    # Triton 3.5 and earlier (torch 2.9) link what they compile with -lcuda, which looks for this name.
    target.joinpath("libcuda.so").write_text("INPUT(libcuda.so.1)\n", encoding="utf-8")
