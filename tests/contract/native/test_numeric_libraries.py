"""What cuFFT, cuDNN, cuSOLVER and cuSPARSE keep between calls: plans, descriptors and handles."""

from __future__ import annotations

import sys
from ctypes import byref, c_int, c_int64, c_longlong, c_size_t, c_void_p
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.contract.native.libraries import SUCCESS, Libraries, card_text, opened
from tests.contract.native.test_place import preloaded

if TYPE_CHECKING:
    from pathlib import Path

INVALID_PLAN: Final = 1
COMPLEX: Final = 4
"""CUDA_C_32F."""
TENSOR, GRAPH, ENGINE_CONFIG, HEURISTICS, PLAN, CONVOLUTION = 17, 15, 3, 4, 5, 10
"""cudnnBackendDescriptorType_t."""
INT64, DESCRIPTOR, DATA_TYPE, MODE = 3, 15, 1, 8
"""cudnnBackendAttributeType_t."""


def transform(cufft: Any, length: int, *, allocates: bool) -> tuple[int, int]:
    """Return a plan for one complex transform, and the bytes of its work area."""
    plan, work = c_int(), c_size_t()
    assert SUCCESS == cufft.cufftCreate(byref(plan))
    assert SUCCESS == cufft.cufftSetAutoAllocation(plan, c_int(allocates))
    lengths = (c_longlong * 1)(length)
    none, one = c_void_p(), c_longlong(1)
    layout = (none, one, one, c_int(COMPLEX))
    assert SUCCESS == cufft.cufftXtMakePlanMany(plan, 1, lengths, *layout, *layout, one, byref(work), c_int(COMPLEX))
    return plan.value, work.value


def test_a_work_area_of_the_library_is_charged_until_the_plan_is_destroyed(cards: Libraries, folder: Path) -> None:
    """A plan that allocates by itself charges its work area to the card; one whose caller brings it charges nothing."""
    cufft, before = opened(folder, "libcufft.so.12"), cards.usage(0).used_bytes

    brought, _ = transform(cufft, 1 << 20, allocates=False)
    assert before == cards.usage(0).used_bytes
    own, work_bytes = transform(cufft, 1 << 20, allocates=True)
    assert before + work_bytes == cards.usage(0).used_bytes
    assert 8 << 20 == work_bytes

    assert [SUCCESS, SUCCESS] == [cufft.cufftDestroy(plan) for plan in (own, brought)]
    assert before == cards.usage(0).used_bytes


def test_a_plan_that_is_gone_is_invalid(cards: Libraries, folder: Path) -> None:
    """A transform of a plan that was destroyed or never made is an error and not counted."""
    cufft, before = opened(folder, "libcufft.so.12"), cards.counted()["compute_calls"]
    plan, _ = transform(cufft, 16, allocates=False)

    codes = [cufft.cufftXtExec(plan, None, None, -1), cufft.cufftDestroy(plan)]
    codes += [cufft.cufftXtExec(plan, None, None, -1), cufft.cufftDestroy(plan), cufft.cufftXtExec(0, None, None, -1)]

    assert [SUCCESS, SUCCESS, INVALID_PLAN, INVALID_PLAN, INVALID_PLAN] == codes
    assert before + 1 == cards.counted()["compute_calls"]


class Descriptors:
    """cuDNN's graph interface with plain values."""

    def __init__(self, cudnn: Any) -> None:
        """Speak to `cudnn`."""
        self.cudnn = cudnn

    def make(self, kind: int, **attributes: Any) -> c_void_p:
        """Create a descriptor of a kind with attributes by number, as `_704=(type, values)`."""
        made = c_void_p()
        assert SUCCESS == self.cudnn.cudnnBackendCreateDescriptor(c_int(kind), byref(made))
        for name, (form, values) in attributes.items():
            stored = {INT64: c_int64, DESCRIPTOR: c_void_p}.get(form, c_int)
            elements = (stored * len(values))(*values)
            code = self.cudnn.cudnnBackendSetAttribute(made, int(name[1:]), form, c_int64(len(values)), elements)
            assert SUCCESS == code
        assert SUCCESS == self.cudnn.cudnnBackendFinalize(made)
        return made

    def destroy(self, *gone: c_void_p) -> None:
        """Destroy descriptors."""
        for each in gone:
            assert SUCCESS == self.cudnn.cudnnBackendDestroyDescriptor(each)

    def tensor(self, data_type: int, sizes: tuple[int, ...], strides: tuple[int, ...]) -> c_void_p:
        """Create a tensor's descriptor."""
        return self.make(TENSOR, _901=(DATA_TYPE, (data_type,)), _902=(INT64, sizes), _903=(INT64, strides))


def test_a_graph_keeps_what_its_maker_destroys(cards: Libraries, folder: Path) -> None:
    """Heuristics, configuration and plan know the tensors of a convolution after these and the operation are destroyed."""
    cudnn = opened(folder, "libcudnn.so.9")
    make = Descriptors(cudnn)
    half = 2
    parts = [make.tensor(half, sizes, strides) for sizes, strides in (
        ((1, 16, 8, 8), (1024, 64, 8, 1)), ((32, 16, 1, 1), (16, 1, 1, 1)), ((1, 32, 8, 8), (2048, 64, 8, 1)),
    )]  # fmt: skip
    operation = make.make(
        CONVOLUTION, **{f"_{704 - (i == 1) + (i == 2)}": (DESCRIPTOR, (p.value,)) for i, p in enumerate(parts)}
    )
    graph = make.make(GRAPH, _801=(DESCRIPTOR, (operation.value,)))
    make.destroy(*parts, operation)
    heuristics = make.make(HEURISTICS, _201=(DESCRIPTOR, (graph.value,)), _200=(MODE, (0,)))
    make.destroy(graph)
    configs = (c_void_p * 2)(*(make.make(ENGINE_CONFIG).value for _ in range(2)))
    count, work = c_int64(), c_int64()

    assert SUCCESS == cudnn.cudnnBackendGetAttribute(heuristics, 202, DESCRIPTOR, c_int64(2), byref(count), configs)
    make.destroy(heuristics)
    plans = [make.make(PLAN, _401=(DESCRIPTOR, (config,))) for config in configs]
    make.destroy(*map(c_void_p, configs))
    found = []
    for plan in plans:
        assert SUCCESS == cudnn.cudnnBackendGetAttribute(plan, 402, INT64, c_int64(1), byref(count), byref(work))
        found.append(work.value)
    make.destroy(*plans)

    # The filter has one position, so it lies channels-last already; input and output are copied, in fp16 and fp32.
    assert [1024 * 2 + 2048 * 4, 0] == found
    assert [] == cards.refused()


def test_an_attribute_that_nobody_set_is_refused_with_its_number(cards: Libraries, folder: Path) -> None:
    """What the library does not answer is a gap, named with the attribute's number."""
    cudnn = opened(folder, "libcudnn.so.9")
    make = Descriptors(cudnn)
    graph, count = make.make(GRAPH), c_int64()

    code = cudnn.cudnnBackendGetAttribute(graph, 405, INT64, c_int64(1), byref(count), byref(c_int64()))
    make.destroy(graph)

    assert 3000 == code
    assert ["cudnnBackendGetAttribute(405)"] == cards.refused()


@pytest.mark.parametrize(
    ("soname", "version", "parts"), [("libcudnn.so.9", 92400, [9, 24, 0]), ("libcudnn.so.8", 8902, [8, 9, 2])]
)
def test_cudnn_names_its_version(folder: Path, soname: str, version: int, parts: list[int]) -> None:
    """PyTorch refuses a cuDNN of another major than the one that it was built with; each major counts in its own way."""
    cudnn, part = opened(folder, soname), c_int()

    assert version == cudnn.cudnnGetVersion()
    assert parts == [cudnn.cudnnGetProperty(number, byref(part)) or part.value for number in range(3)]


@pytest.mark.usefixtures("cards")
@pytest.mark.parametrize(
    ("soname", "function", "not_initialised"),
    [
        ("libcudnn.so.9", "cudnnCreate", 1001),
        ("libcudnn.so.8", "cudnnCreate", 1),
        ("libcusolver.so.12", "cusolverDnCreate", 1),
        ("libcusolver.so.11", "cusolverDnCreate", 1),
        ("libcusparse.so.12", "cusparseCreate", 1),
    ],
)
def test_without_a_card_there_is_no_handle(folder: Path, soname: str, function: str, not_initialised: int) -> None:
    """A process that sees no card gets no handle, and CUDA's code for not initialised; with one it does."""
    library, handle = opened(folder, soname), c_void_p()

    assert SUCCESS == getattr(library, function)(byref(handle))
    assert SUCCESS == getattr(library, function.replace("Create", "Destroy"))(handle)
    code = f"import ctypes; print(ctypes.CDLL({soname!r}).{function}(ctypes.byref(ctypes.c_void_p())))"
    hidden = preloaded(folder, card_text(), sys.executable, "-c", code, CUDA_VISIBLE_DEVICES="")
    assert (0, not_initialised) == (hidden.returncode, int(hidden.stdout))
