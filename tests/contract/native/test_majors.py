"""What differs between the majors of CUDA: forms of functions, layout of structures, and one set of books for both."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_char, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p, create_string_buffer
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_vramguard.devices.emulated.libraries import SONAMES
from pytest_vramguard.devices.emulated.native.build import LIBRARIES, RELEASES
from tests.contract.native.libraries import CARD, INVALID_VALUE, SUCCESS, TOTAL_BYTES, Libraries, opened

if TYPE_CHECKING:
    from pathlib import Path

PROPERTIES_BYTES: Final = {12: 1032, 13: 1008}
"""Size of cudaDeviceProp. Source: driver_types.h of CUDA 12.9 and 13.0, by the compiler, as for the places below."""
TOTAL_AT: Final = 288
SM_COUNT_AT: Final = {12: 388, 13: 384}
CLOCK_AT: Final = 348
CAPTURE_NONE: Final = 0
EACH_MAJOR: Final = pytest.mark.parametrize("major", RELEASES)


def runtime(cards: Libraries, major: int) -> ctypes.CDLL:
    """Return the runtime of a major."""
    return {12: cards.runtime_12, 13: cards.runtime}[major]


def entry_point(cards: Libraries, symbol: str, release: int) -> int | None:
    """Return the address that a runtime finds for a function of the driver as `release` knew it."""
    found, result = c_void_p(), c_int()
    code = cards.runtime.cudaGetDriverEntryPointByVersion(
        symbol.encode(), byref(found), c_uint(release), c_ulonglong(0), byref(result)
    )
    assert SUCCESS == code
    assert (result.value == 0) == bool(found.value)
    return found.value


def address(library: ctypes.CDLL, name: str) -> int | None:
    """Return where a function is."""
    return ctypes.cast(getattr(library, name), c_void_p).value


class Location(ctypes.Structure):
    """`cudaMemLocation` of driver_types.h."""

    _fields_ = (("type", c_int), ("id", c_int))


def test_the_package_loads_what_is_built() -> None:
    """No library is built that is never loaded, nor loaded that is never built."""
    assert {library.soname for library in LIBRARIES} == set(SONAMES)


class TestBooks:
    """One ledger under both runtimes."""

    def test_memory_of_either_runtime_is_in_the_same_books(self, cards: Libraries) -> None:
        """What one major allocates, the other sees as used and can free."""
        before, place = cards.usage(0).used_bytes, c_void_p()

        assert SUCCESS == cards.runtime_12.cudaMalloc(byref(place), c_size_t(1 << 20))
        used = cards.usage(0).used_bytes - before
        assert SUCCESS == cards.call("cudaFree", place.value or 0)

        assert 1 << 21 == used
        assert before == cards.usage(0).used_bytes


class TestVersions:
    """Each library answers for its own major."""

    @EACH_MAJOR
    def test_a_runtime_names_its_release(self, cards: Libraries, major: int) -> None:
        """The driver's release is the newest of both."""
        own, driver = c_int(), c_int()
        runtime(cards, major).cudaRuntimeGetVersion(byref(own))
        runtime(cards, major).cudaDriverGetVersion(byref(driver))

        assert (RELEASES[major], max(RELEASES.values())) == (own.value, driver.value)

    @EACH_MAJOR
    def test_cublas_names_its_release(self, folder: Path, major: int) -> None:
        """By each of the ways to ask."""
        blas: Any = opened(folder, f"libcublas.so.{major}")
        light: Any = opened(folder, f"libcublasLt.so.{major}")
        version, parts = c_int(), [c_int(), c_int(), c_int()]

        assert SUCCESS == blas.cublasGetVersion_v2(None, byref(version))
        assert [SUCCESS] * 3 == [blas.cublasGetProperty(number, byref(part)) for number, part in enumerate(parts)]
        assert RELEASES[major] * 10 == version.value == light.cublasLtGetVersion()
        assert [major, RELEASES[major] % 1000 // 10, 0] == [part.value for part in parts]


class TestProperties:
    """cudaGetDeviceProperties."""

    @EACH_MAJOR
    def test_the_structure_has_the_layout_of_the_major(self, cards: Libraries, major: int) -> None:
        """Name, size and multiprocessors stand where that major's header puts them, and nothing is written behind the end."""
        found = create_string_buffer(b"\xff" * 2048, 2048)
        library = runtime(cards, major)
        ask = library.cudaGetDeviceProperties_v2 if major == 12 else library.cudaGetDeviceProperties

        assert SUCCESS == ask(found, 0)
        assert CARD["name"] == ctypes.string_at(found).decode()
        assert TOTAL_BYTES == c_size_t.from_buffer(found, TOTAL_AT).value
        assert CARD["sm_count"] == c_int.from_buffer(found, SM_COUNT_AT[major]).value
        written = PROPERTIES_BYTES[major]
        assert b"\x00" + b"\xff" * (2048 - written) == bytes((c_char * (2049 - written)).from_buffer(found, written - 1))

    def test_cuda_12_has_the_clock_among_them(self, cards: Libraries) -> None:
        """CUDA 13 dropped it."""
        found = create_string_buffer(2048)
        cards.runtime_12.cudaGetDeviceProperties_v2(found, 0)

        assert CARD["boost_clock_khz"] == c_int.from_buffer(found, CLOCK_AT).value

    def test_the_form_of_cuda_11_is_refused(self, cards: Libraries) -> None:
        """The plain name of CUDA 12 is for programs of CUDA 11, whose structure is another."""
        assert 801 == cards.runtime_12.cudaGetDeviceProperties(create_string_buffer(2048), 0)
        assert ["cudaGetDeviceProperties"] == cards.refused()


class TestOlderForms:
    """Functions whose plain name takes other arguments in CUDA 12."""

    @pytest.mark.parametrize("device", [0, -1])
    def test_managed_memory_is_prefetched_to_a_device_by_number(self, cards: Libraries, device: int) -> None:
        """Both forms take managed memory and nothing else; -1 is the host."""
        _, managed = cards.allocate("cudaMallocManaged", 4096)
        new, location = cards.runtime_12.cudaMemPrefetchAsync_v2, Location(1, 0)
        old = cards.runtime_12.cudaMemPrefetchAsync

        assert SUCCESS == old(c_void_p(managed), c_size_t(4096), c_int(device), None)
        assert SUCCESS == new(c_void_p(managed), c_size_t(4096), location, c_uint(0), None)
        assert INVALID_VALUE == old(c_void_p(12345), c_size_t(4096), c_int(device), None)

    def test_a_stream_is_asked_for_its_capture_without_edges(self, cards: Libraries) -> None:
        """The form that programs of CUDA 12 call has one argument less."""
        state = c_int(77)

        assert SUCCESS == cards.runtime_12.cudaStreamGetCaptureInfo_v2(None, byref(state), None, None, None, None)
        assert CAPTURE_NONE == state.value

    def test_elapsed_time_has_two_names(self, cards: Libraries) -> None:
        """They give the same time."""
        start, end = cards.create("cudaEventCreateWithFlags", 0), cards.create("cudaEventCreateWithFlags", 0)
        cards.call("cudaEventRecord", start, 0)
        cards.launch()
        cards.call("cudaEventRecord", end, 0)
        times = [c_float(), c_float()]

        for name, milliseconds in zip(("cudaEventElapsedTime", "cudaEventElapsedTime_v2"), times, strict=True):
            assert SUCCESS == getattr(cards.runtime_12, name)(byref(milliseconds), c_void_p(start), c_void_p(end))

        assert times[0].value == times[1].value > 0


class TestEntryPoints:
    """The driver's functions by name and release."""

    @pytest.mark.parametrize(
        ("symbol", "release", "form"),
        [
            ("cuMemPrefetchAsync", 12010, "cuMemPrefetchAsync"),
            ("cuMemPrefetchAsync", 12020, "cuMemPrefetchAsync_v2"),
            ("cuCtxCreate", 12040, "cuCtxCreate_v3"),
            ("cuCtxCreate", 13000, "cuCtxCreate_v4"),
            ("cuCtxSynchronize", 12090, "cuCtxSynchronize"),
            ("cuCtxSynchronize", 13000, "cuCtxSynchronize_v2"),
            ("cuStreamGetCaptureInfo", 12020, "cuStreamGetCaptureInfo_v2"),
            ("cuStreamGetCaptureInfo", 12030, "cuStreamGetCaptureInfo_v3"),
            ("cuMemAlloc", 12000, "cuMemAlloc_v2"),
            ("cuInit", 12000, "cuInit"),
        ],
    )
    def test_a_release_gets_the_form_that_it_knew(self, cards: Libraries, symbol: str, release: int, form: str) -> None:
        """The newest form that the release had, since later ones take other arguments."""
        assert address(cards.driver, form) == entry_point(cards, symbol, release)

    def test_the_older_way_to_ask_knows_the_release_of_its_runtime(self, cards: Libraries) -> None:
        """CUDA 12's function without a release gives the forms of the newest 12."""
        found, result = c_void_p(), c_int()

        code = cards.runtime_12.cudaGetDriverEntryPoint(b"cuCtxSynchronize", byref(found), c_ulonglong(0), byref(result))

        assert (SUCCESS, 0) == (code, result.value)
        assert address(cards.driver, "cuCtxSynchronize") == found.value

    def test_an_unknown_function_is_not_found(self, cards: Libraries) -> None:
        """It is no gap of the emulation: the driver has no such function either."""
        assert entry_point(cards, "cuNoSuchFunction", 12000) is None
