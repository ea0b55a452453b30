"""Every public symbol of every emulated library: exported, and implemented, counted or refused by name. None is silent."""

from __future__ import annotations

import ctypes
import re
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from pytest_vramguard.devices.emulated.native.build import LIBRARIES, RELEASES, STUB_SECTION, Library, listed_symbols
from tests.contract.native.libraries import Libraries, opened

if TYPE_CHECKING:
    from pathlib import Path

NOT_INITIALIZED: Final = 1
"""CUBLAS_STATUS_NOT_INITIALIZED."""
POINTER_MODE_DEVICE: Final = 1
"""CUBLAS_POINTER_MODE_DEVICE."""
NUMERIC: Final = ("libcublas.", "libcusolver.", "libcusparse.", "libcudnn.")
"""Libraries of which some computations are generated: their operands and results are all device memory."""
FOR_BOTH_MAJORS: Final = (
    "libcudart.",
    "libcublas.",
    "libcublasLt.",
    "libcusolver.",
    "libcufft.",
    "libcupti.",
    "libnvJitLink.",
)
"""Beginnings of the names of libraries that are built for each major of CUDA."""
each_library = pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.soname)


def generated(folder: Path, library: Library) -> set[str]:
    """Return the functions of a library that were generated: they lie in a section of their own."""
    table = subprocess.run(["objdump", "-T", str(folder / library.soname)], capture_output=True, text=True, check=True).stdout
    return set(re.findall(rf" {STUB_SECTION}\t.* (\w+)$", table, flags=re.MULTILINE))


def stubs_of(folder: Path, library: Library, kind: str) -> list[str]:
    """Return the symbols of a kind that are generated."""
    found = generated(folder, library)
    return [name for name, its_kind in listed_symbols(library.soname).items() if its_kind == kind and name in found]


def exports(path: Path) -> dict[str, str]:
    """Return the functions that a library exports, each with its version or the empty string."""
    listing = subprocess.run(["nm", "-D", "--defined-only", str(path)], capture_output=True, text=True, check=True).stdout
    found = re.findall(r" T (\w+)(?:@@(\S+))?$", listing, flags=re.MULTILINE)
    return dict(found)


def called(function: object) -> int:
    """Return what a stub returns: stubs take no arguments."""
    code: int = function()  # type: ignore[operator] # ctypes functions are found by name
    return code


@each_library
def test_exactly_the_listed_symbols_are_exported(folder: Path, library: Library) -> None:
    """Each name of the list is exported, with the version that the real one has, and nothing else."""
    assert dict.fromkeys(listed_symbols(library.soname), library.symbol_version) == exports(folder / library.soname)


@each_library
def test_a_program_finds_every_symbol_by_name(folder: Path, library: Library) -> None:
    """The loader resolves each listed name."""
    opened_library = opened(folder, library.soname)

    assert [] == [name for name in listed_symbols(library.soname) if not hasattr(opened_library, name)]


@each_library
def test_what_is_not_emulated_refuses_under_its_own_name(cards: Libraries, folder: Path, library: Library) -> None:
    """Each generated function that is no computation returns the library's "not supported" and records its name."""
    opened_library, names = opened(folder, library.soname), stubs_of(folder, library, "")
    cards.refused()

    outcomes = [(name, called(getattr(opened_library, name)), cards.refused()) for name in names]

    assert [(name, library.refusal_code, [name]) for name in names] == outcomes


@each_library
def test_a_computation_is_accepted_and_counted(cards: Libraries, folder: Path, library: Library) -> None:
    """Each generated computation succeeds, adds one to the counter, and is not recorded as refused."""
    opened_library, names = opened(folder, library.soname), stubs_of(folder, library, "compute")
    before = cards.counted()["compute_calls"]

    outcomes = [
        (name, called(getattr(opened_library, name)), cards.counted()["compute_calls"], cards.refused()) for name in names
    ]

    assert [(name, 0, before + number, []) for number, name in enumerate(names, start=1)] == outcomes


@each_library
def test_a_reduction_is_counted_only_if_its_result_stays_on_the_card(cards: Libraries, folder: Path, library: Library) -> None:
    """A sum for the host would be invented: it is refused by name. For the card it is one more computation."""
    opened_library, names = opened(folder, library.soname), stubs_of(folder, library, "reduction")
    handle = ctypes.c_void_p()
    if names:
        opened_library.cublasCreate_v2(ctypes.byref(handle))
    for name in names:
        function, before = getattr(opened_library, name), cards.counted()["compute_calls"]

        opened_library.cublasSetPointerMode_v2(handle, 0)
        for_host = function(handle), cards.refused(), cards.counted()["compute_calls"] - before
        opened_library.cublasSetPointerMode_v2(handle, POINTER_MODE_DEVICE)
        for_card = function(handle), cards.refused(), cards.counted()["compute_calls"] - before

        assert ((library.refusal_code, [name], 0), (0, [], 1)) == (for_host, for_card)
        assert NOT_INITIALIZED == function(None)


@each_library
def test_only_numeric_libraries_compute_without_being_written(folder: Path, library: Library) -> None:
    """Generated successes are confined to the numeric libraries; elsewhere a function succeeds only if somebody wrote it."""
    successes = len(stubs_of(folder, library, "compute")) + len(stubs_of(folder, library, "reduction"))

    assert library.soname.startswith(NUMERIC) == bool(successes)


@each_library
def test_every_library_has_functions_that_somebody_wrote(folder: Path, library: Library) -> None:
    """Generated functions are listed ones, and not all of them."""
    assert generated(folder, library) < listed_symbols(library.soname).keys()


def test_a_library_of_one_major_has_its_like_for_the_other() -> None:
    """What is built for CUDA 13 under a versioned name is built for CUDA 12 too."""
    majors = {
        major: [
            library.sources[0] for library in LIBRARIES if library.soname.startswith(FOR_BOTH_MAJORS) and library.major == major
        ]
        for major in RELEASES
    }

    assert majors[13] == majors[12]


def test_a_gap_has_the_same_name_for_every_thread_and_time(cards: Libraries) -> None:
    """A function that is refused twice is recorded once, in order of first call, until the names are forgotten."""
    for name in ("cudaMallocArray", "cudaIpcGetMemHandle", "cudaMallocArray"):
        cards.call(name)

    assert ["cudaMallocArray", "cudaIpcGetMemHandle"] == cards.refused()
    assert [] == cards.refused()


def test_an_unknown_attribute_is_refused_with_its_number(cards: Libraries) -> None:
    """An attribute of the device that the catalogue knows nothing of is a gap, named with its number."""
    value = ctypes.c_int()

    assert 801 == cards.call("cudaDeviceGetAttribute", ctypes.addressof(value), 100000, 0)
    assert 801 == cards.call_driver("cuDeviceGetAttribute", ctypes.addressof(value), 100001, 0)
    assert ["cudaDeviceGetAttribute(100000)", "cuDeviceGetAttribute(100001)"] == cards.refused()


def test_names_beyond_the_table_do_not_empty_it(cards: Libraries) -> None:
    """However many names are refused, and however long they are, the list is not empty and no longer than its room."""
    for index in range(600):
        cards.core.vg_refuse(f"{'x' * 200}{index}".encode(), 801)
        cards.core.vg_refuse(f"name{index}".encode(), 801)

    refused = cards.refused()

    assert ["x" * 95, "name0", "name1"] == refused[:3]
    assert 512 == len(refused)


@pytest.mark.parametrize("room", [0, 1, 5, 9, 10, 100])
def test_the_list_of_refusals_fits_its_room(cards: Libraries, room: int) -> None:
    """A list that is longer than the caller's room is cut, and the room is not overrun."""
    text = ctypes.create_string_buffer(b"\xff" * 110, 110)
    for name in (b"abc", b"defgh"):
        cards.core.vg_refuse(name, 801)

    count = cards.core.vg_refusals(text, ctypes.c_size_t(room))

    whole = b"abc\ndefgh\n"
    assert 2 == count
    assert (whole[: max(0, room - 1)] + b"\0" if room else b"") + b"\xff" == text.raw[: min(room, len(whole) + 1) + 1]
