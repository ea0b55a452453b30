"""Tests of the build: which C text and which linker script come of a library's list, and what is said when it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_vramguard.devices.emulated.native import build
from pytest_vramguard.devices.emulated.native.build import (
    COUNTED,
    LIBRARIES,
    BuildError,
    Library,
    listed_symbols,
    stub,
    stubs,
    version_script,
)

if TYPE_CHECKING:
    from pathlib import Path

NVSHMEM = next(library for library in LIBRARIES if library.soname == "libnvshmem_host.so.3")
NCCL = next(library for library in LIBRARIES if library.soname == "libnccl.so.2")
RUNTIME = next(library for library in LIBRARIES if library.soname == "libcudart.so.13")


class TestStub:
    """One generated function."""

    def test_a_function_that_nobody_wrote_refuses_by_name(self) -> None:
        """It returns the library's code for "not supported"."""
        assert 'STUB int cudaGraphCreate(void) { return vg_refuse("cudaGraphCreate", 801); }\n' == stub(
            "cudaGraphCreate", "", 801
        )

    def test_a_computation_is_counted(self) -> None:
        """It works on the stream of its handle."""
        expected = "STUB int cublasSgemm_v2(const void *first) { return vg_compute(first); }\n"
        assert expected == stub("cublasSgemm_v2", "compute", 15)

    def test_a_reduction_asks_its_handle(self) -> None:
        """It decides by the pointer mode of the handle."""
        expected = 'STUB int cublasSdot_v2(void *handle) { return vg_blas_reduction(handle, "cublasSdot_v2"); }\n'
        assert expected == stub("cublasSdot_v2", "reduction", 15)


class TestStubs:
    """The generated file of a library."""

    def test_what_is_written_is_not_generated(self) -> None:
        """Every listed name is generated once, unless it is defined."""
        names = set(listed_symbols(NCCL.soname))

        generated = stubs(NCCL, {"ncclGetVersion", "vg_own"}).splitlines()

        declared = [COUNTED.strip(), "int vg_blas_reduction(void *handle, const char *name);"]
        assert '#include "core.h"' == generated[0]
        assert declared == generated[2:4]
        assert sorted(names - {"ncclGetVersion"}) == [line.split()[2].removesuffix("(void)") for line in generated[4:]]

    def test_a_library_that_knows_its_streams_computes_itself(self) -> None:
        """What it wrote is called, and nothing generated in its place."""
        assert "int vg_compute(const void *first);" in stubs(NCCL, {"vg_compute"}).splitlines()
        assert COUNTED not in stubs(NCCL, {"vg_compute"})

    def test_a_definition_that_is_not_listed_is_a_fault(self) -> None:
        """A misspelt name does not pass for an extra function: all such names are told at once."""
        with pytest.raises(BuildError) as caught:
            stubs(NCCL, {"ncclGetVersion", "ncclGetVersoin", "aName"})

        expected = "libnccl.so.2: aName, ncclGetVersoin: expected names of symbols/libnccl.so.2.txt; correct them"
        assert expected == str(caught.value)


class TestVersionScript:
    """What a library exports."""

    def test_symbols_carry_the_soname_where_the_real_ones_do(self) -> None:
        """The node of the runtime is its SONAME, and everything else is hidden."""
        lines = version_script(RUNTIME).splitlines()

        assert ["libcudart.so.13 {", "  global:"] == lines[:2]
        assert [f"    {name};" for name in listed_symbols(RUNTIME.soname)] == lines[2:-2]
        assert ["  local: *;", "};"] == lines[-2:]

    def test_other_symbols_have_no_version(self) -> None:
        """The node of NCCL has no name."""
        assert version_script(NCCL).startswith(" {\n  global:\n")

    def test_a_version_of_its_own_stands_in_place_of_the_soname(self) -> None:
        """NVSHMEM's node is no SONAME."""
        assert version_script(NVSHMEM).startswith("NVSHMEM {\n  global:\n")


class TestSymbols:
    """The lists."""

    @pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.soname)
    def test_a_list_is_sorted_names_with_known_kinds(self, library: Library) -> None:
        """Each name stands once and can be a function of C; a kind is `compute`, `reduction` or nothing."""
        text = (build.NATIVE / "symbols" / f"{library.soname}.txt").read_text(encoding="utf-8")
        symbols = listed_symbols(library.soname)

        assert sorted(symbols) == [line.partition(" ")[0] for line in text.splitlines()]
        assert set(symbols.values()) <= {"", "compute", "reduction"}
        assert all(name.isidentifier() and name.isascii() for name in symbols)


def headers(folder: Path, major: int) -> Path:
    """Put the header of a major into `folder`."""
    folder.mkdir(exist_ok=True)
    folder.joinpath("cuda.h").write_text(f"/* a header */\n#define CUDA_VERSION {major * 1000}\n", encoding="utf-8")
    return folder


class TestHeaders:
    """Which headers a library is compiled against."""

    def test_a_major_finds_its_own_headers_first(self, tmp_path: Path) -> None:
        """The folders of the other major, and those without a `cuda.h`, are looked through afterwards."""
        both = [tmp_path, headers(tmp_path / "new", 13), headers(tmp_path / "old", 12)]

        expected = {12: [both[2], both[0], both[1]], 13: [both[1], both[0], both[2]]}
        assert expected == build.sort_headers(both)


class TestFailures:
    """What is said when the libraries cannot be built."""

    @pytest.mark.parametrize(
        ("there", "missing"),
        [
            (13, "cuda.h of CUDA 12: not found in {}; install the wheel nvidia-cuda-runtime-cu12"),
            (12, "cuda.h of CUDA 13: not found in {}; install the wheels nvidia-cuda-runtime and nvidia-cuda-crt of CUDA 13"),
        ],
    )
    def test_a_missing_header_names_the_wheels(self, tmp_path: Path, there: int, missing: str) -> None:
        """Without the headers of each major nothing is compiled and nothing is left behind."""
        headers(tmp_path, there)

        with pytest.raises(BuildError) as caught:
            build.build(tmp_path / "lib", [tmp_path])

        assert missing.format(tmp_path) == str(caught.value)
        assert not (tmp_path / "lib").exists()

    def test_no_folder_of_headers_is_said_in_words(self, tmp_path: Path) -> None:
        """Where no wheel is installed, no folder is named."""
        with pytest.raises(BuildError, match=r"^cuda\.h of CUDA 12: not found in no folder; install"):
            build.build(tmp_path / "lib", [])

    def test_a_missing_tool_is_named(self) -> None:
        """A command that is not installed is named with what to install."""
        with pytest.raises(BuildError) as caught:
            build.run("no-such-gcc")

        assert "no-such-gcc: not found, expected on the path; install gcc and binutils (Debian: apt install gcc)" == str(
            caught.value
        )

    def test_a_failing_tool_is_quoted(self) -> None:
        """A command that fails is shown with what it printed on standard error."""
        with pytest.raises(BuildError) as caught:
            build.run("sh", "-c", "echo wrong >&2; exit 3")

        assert "sh -c echo wrong >&2; exit 3:\nwrong\n" == str(caught.value)
