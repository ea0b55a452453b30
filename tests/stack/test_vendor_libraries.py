"""What PyTorch asks of NVIDIA's other libraries is done on the emulated card, or refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pytest_vramguard.devices.emulated import libraries
from pytest_vramguard.devices.emulated.known.mode import KnownValues

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.stack]

KIB = 1024
ROWS, COLUMNS = 6, 4


@pytest.fixture(autouse=True)
def values() -> Iterator[KnownValues]:
    """Run each test with known values and a fresh list of refusals."""
    torch.cuda.init()
    libraries.forget_refused()
    with KnownValues() as mode:
        yield mode
    libraries.forget_refused()


def shapes(result: object) -> list[tuple[int, ...]]:
    """Return the shapes of one tensor or of several."""
    return [tuple(tensor.shape) for tensor in (result if isinstance(result, (tuple, list)) else (result,))]


# x is a square matrix or a batch of them, r a matrix with fewer columns; both hold what no CPU knows.
LINEAR_ALGEBRA: dict[str, Callable[[Tensor, Tensor], object]] = {
    "solve": torch.linalg.solve,
    "inv": lambda x, _: torch.linalg.inv(x),
    "det": lambda x, _: torch.linalg.det(x),
    "lu": lambda x, _: torch.linalg.lu(x),
    "qr": lambda _, r: torch.linalg.qr(r),
    "cholesky": lambda x, _: torch.linalg.cholesky(x),
    "cholesky_solve": lambda x, r: torch.cholesky_solve(r, x),
    "eigh": lambda x, _: torch.linalg.eigh(x),
    "svd": lambda _, r: torch.linalg.svd(r),
    "thin svd": lambda _, r: torch.linalg.svd(r, full_matrices=False),
    "svdvals": lambda _, r: torch.linalg.svdvals(r),
    "svd_lowrank": lambda x, _: torch.svd_lowrank(x, q=2),
    "lstsq": lambda x, r: torch.linalg.lstsq(x, r).solution,
    "pinv": lambda _, r: torch.linalg.pinv(r),
    "ldl": lambda x, _: torch.linalg.ldl_factor(x),
}


@pytest.mark.parametrize("function", LINEAR_ALGEBRA.values(), ids=LINEAR_ALGEBRA.keys())
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)], ids=["one", "batch", "batch of batches"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=["real", "complex"])
def test_linear_algebra(function: Callable[[Tensor, Tensor], object], batch: tuple[int, ...], dtype: torch.dtype) -> None:
    """A function of linear algebra gives results of the CPU's shapes, and nothing is refused."""
    square, rectangular = torch.randn(*batch, ROWS, ROWS, dtype=dtype), torch.randn(*batch, ROWS, COLUMNS, dtype=dtype)
    definite = square @ square.mH + torch.eye(ROWS)
    on_card = [torch.empty_like(tensor, device="cuda") for tensor in (definite, rectangular)]

    expected, found = function(definite, rectangular), function(*on_card)

    assert shapes(expected) == shapes(found)
    assert () == libraries.refused()


@pytest.mark.parametrize("size", [300, 700])
def test_large_factorisations_have_a_workspace(size: int) -> None:
    """Beyond the sizes that batched kernels take, cuSOLVER is asked for a workspace, and it is PyTorch's memory."""
    matrix = torch.empty(size, size, device="cuda")
    torch.linalg.inv(matrix)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()

    torch.linalg.eigh(matrix)

    workspace_bytes = (1 + 6 * size + 2 * size**2) * matrix.element_size()
    assert torch.cuda.max_memory_allocated() - before > workspace_bytes


@pytest.mark.parametrize("name", ["inv", "svd", "pinv", "eigh", "cholesky"])
def test_a_solver_that_nobody_ran_succeeds(name: str) -> None:
    """Fault numbers of unknown matrices say success, whatever bytes lie there, also where an operator reads them inside."""
    unknown = torch.empty(ROWS, ROWS, device="cuda")
    for _ in range(8):
        torch.full((ROWS,), -1, dtype=torch.int32, device="cuda")  # leaves these bytes to whoever comes next

        LINEAR_ALGEBRA[name](unknown, unknown)


def test_a_solver_that_nobody_ran_is_noted(values: KnownValues) -> None:
    """That fault numbers of an unknown matrix were read is noted."""
    torch.linalg.inv(torch.empty(ROWS, ROWS, device="cuda"))

    assert values.log.reads.total() >= 1


def test_a_singular_known_matrix_is_an_error() -> None:
    """Where the matrix is known, so is that it has no inverse."""
    with pytest.raises(RuntimeError, match="singular"):
        torch.linalg.inv(torch.zeros(ROWS, ROWS).cuda())


@pytest.mark.parametrize("function", [torch.linalg.eig, torch.linalg.matrix_exp])
def test_what_branches_on_values_is_reported(function: Callable[[Tensor], object], values: KnownValues) -> None:
    """An operator that looks at the values of its matrix gives the right shape and is reported as data-dependent."""
    matrices = torch.empty(3, ROWS, ROWS, device="cuda")

    found = function(matrices)

    assert shapes(function(torch.zeros(3, ROWS, ROWS))) == shapes(found)
    assert 1 == values.log.shapes.total()


FOURIER: dict[str, Callable[[Tensor], Tensor]] = {
    "fft": torch.fft.fft,
    "rfft": torch.fft.rfft,
    "irfft": lambda x: torch.fft.irfft(torch.fft.rfft(x)),
    "fft2": torch.fft.fft2,
    "ifft2": torch.fft.ifft2,
    "fftn": lambda x: torch.fft.fftn(x.view(2, 2, 6, 10)),
    "stft": lambda x: torch.stft(x.flatten(), 32, return_complex=True, window=torch.ones(32, device=x.device)),
}


@pytest.mark.parametrize("function", FOURIER.values(), ids=FOURIER.keys())
def test_fourier_transforms(function: Callable[[Tensor], Tensor]) -> None:
    """A transform has the CPU's shape and type, and nothing is refused."""
    expected, found = function(torch.randn(4, 60)), function(torch.empty(4, 60, device="cuda"))

    assert (expected.shape, expected.dtype) == (found.shape, found.dtype)
    assert () == libraries.refused()


@pytest.mark.parametrize(("length", "factor"), [(2**16, 1), (2 * 127**2, 1), (2 * 131, 8)])
def test_the_work_area_of_a_transform(length: int, factor: int) -> None:
    """A work area is as large as the data, or eight times that where a prime factor of the length is above 127."""
    data = torch.empty(length, dtype=torch.complex64, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()

    result = torch.fft.fft(data)

    granule = 512  # of PyTorch's allocator
    rounded = [-(-size // granule) * granule for size in (result.nbytes, factor * data.nbytes)]
    assert sum(rounded) == torch.cuda.max_memory_allocated() - before


def compressed() -> Tensor:
    """Return the unit matrix of three rows, compressed, on the card."""
    offsets, columns = torch.tensor([0, 1, 2, 3]).cuda(), torch.tensor([0, 1, 2]).cuda()
    return torch.sparse_csr_tensor(offsets, columns, torch.ones(3, device="cuda"), size=(3, 3), check_invariants=False)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_sparse_products() -> None:
    """Products of a compressed matrix with dense ones have the CPU's shapes."""
    matrix = compressed()
    dense = torch.empty(3, 4, device="cuda")

    assert [(3, 4), (3,), (3, 3)] == shapes(
        [matrix @ dense, matrix @ dense[:, 0], torch.sparse.sampled_addmm(matrix, dense, dense.t())]
    )
    assert () == libraries.refused()


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_a_product_of_sparse_matrices_is_refused() -> None:
    """How many entries it has only its values could say."""
    matrix = compressed()

    with pytest.raises(RuntimeError):
        matrix @ matrix

    assert ("cusparseSpGEMM_createDescr",) == libraries.refused()


CONVOLUTIONS: dict[str, Callable[[torch.device], tuple[nn.Module, Tensor]]] = {
    "1d, grouped": lambda to: (nn.Conv1d(8, 8, 3, groups=4).to(to), torch.empty(2, 8, 32, device=to)),
    "2d": lambda to: (nn.Conv2d(3, 8, 3, padding=1).to(to), torch.empty(2, 3, 32, 32, device=to)),
    "2d, strided, dilated": lambda to: (nn.Conv2d(3, 8, 3, stride=2, dilation=2).to(to), torch.empty(2, 3, 32, 32, device=to)),
    "2d, half": lambda to: (nn.Conv2d(3, 8, 3).to(to).half(), torch.empty(2, 3, 32, 32, device=to).half()),
    "2d, transposed": lambda to: (nn.ConvTranspose2d(3, 8, 4, stride=2).to(to), torch.empty(2, 3, 16, 16, device=to)),
    "3d": lambda to: (nn.Conv3d(3, 8, 2).to(to), torch.empty(2, 3, 8, 8, 8, device=to)),
}


@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
@pytest.mark.parametrize("setting", ["default", "benchmark", "deterministic"])
def test_convolutions(
    case: Callable[[torch.device], tuple[nn.Module, Tensor]], setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A convolution runs forward and backward under each setting of cuDNN, with the CPU's shapes."""
    if setting != "default":
        monkeypatch.setattr(torch.backends.cudnn, setting, True)
    (host_layer, host_input), (layer, images) = case(torch.device("cpu")), case(torch.device("cuda"))
    images.requires_grad_()

    output = layer(images)
    output.sum().backward()

    assert host_layer(host_input).shape == output.shape
    assert images.grad is not None
    assert all(parameter.grad is not None for parameter in layer.parameters())
    assert () == libraries.refused()


@pytest.mark.parametrize(
    ("dtype", "channels_last", "copied"),
    [
        (torch.float16, False, True),
        (torch.bfloat16, False, True),
        (torch.float32, False, True),  # as TF32, which PyTorch allows convolutions by default
        (torch.float64, False, False),
        (torch.float16, True, False),
    ],
)
def test_the_workspace_of_a_convolution(dtype: torch.dtype, channels_last: bool, copied: bool) -> None:  # noqa: FBT001 # cases
    """Tensor Cores work on channels-last copies; those that lie so, or are of a type for no Tensor Core, need no workspace."""
    form = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.empty(4, 16, 32, 32, device="cuda", dtype=dtype).to(memory_format=form)
    filters = torch.empty(32, 16, 3, 3, device="cuda", dtype=dtype).to(memory_format=form)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()

    output = functional.conv2d(images, filters, padding=1)

    workspace_bytes = images.nbytes + filters.nbytes + output.numel() * 4 if copied else 0  # the result in fp32
    assert workspace_bytes == torch.cuda.max_memory_allocated() - before - output.nbytes


@pytest.mark.parametrize(("asks_for_gradient", "measured_bytes"), [(False, 29_600_043), (True, 22_137_259)])
def test_the_workspace_of_a_published_convolution(asks_for_gradient: bool, measured_bytes: int) -> None:  # noqa: FBT001 # cases
    """The rule meets what cuDNN asked for on a real card, forward and backward to the input.

    Source: chainer/chainer, pull request 3972, warnings for (32, 96, 27, 27) and filters of 5 x 5.
    """
    images = torch.empty(32, 96, 27, 27, device="cuda", dtype=torch.float16, requires_grad=asks_for_gradient)
    filters = torch.empty(256, 96, 5, 5, device="cuda", dtype=torch.float16)
    result = functional.conv2d(images, filters, padding=2)
    gradient = torch.empty_like(result)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()

    again = (
        torch.autograd.grad(result, images, gradient)[0] if asks_for_gradient else functional.conv2d(images, filters, padding=2)
    )

    assert measured_bytes == pytest.approx(torch.cuda.max_memory_allocated() - before - again.nbytes, rel=0.001)


def test_a_profile_has_the_host_and_no_card() -> None:
    """torch.profiler records operators and memory as on a real card, and no time on the card, since nothing ran there."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        torch.empty(KIB, KIB, device="cuda") @ torch.empty(KIB, KIB, device="cuda")

    product = next(event for event in profile.key_averages() if event.key == "aten::mm")
    assert product.device_memory_usage >= 4 * KIB**2
    assert 0 == product.device_time_total
    assert () == libraries.refused()


def test_ranges_are_accepted() -> None:
    """NVTX marks nothing where no tool listens, as on a real card."""
    with torch.cuda.nvtx.range("step"):
        torch.empty(1, device="cuda")

    assert () == libraries.refused()


def test_a_kernel_compiled_at_run_time() -> None:
    """NVRTC is the real compiler, and what it makes is accepted."""
    assert (4,) == tuple(torch.special.bessel_j0(torch.empty(4, device="cuda")).shape)
    assert () == libraries.refused()


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "LSTM": (lambda: nn.LSTM(8, 8).cuda()(torch.empty(3, 2, 8, device="cuda")), "cudnnCreateRNNDescriptor"),
    "GRU": (lambda: nn.GRU(8, 8).cuda()(torch.empty(3, 2, 8, device="cuda")), "cudnnCreateRNNDescriptor"),
    "2:4 sparsity": (
        lambda: torch._cslt_compress(torch.empty(128, 128, device="cuda", dtype=torch.float16)),
        "cusparseLtInit",
    ),
}


@pytest.mark.parametrize(("call", "name"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_emulated_is_refused_by_name(call: Callable[[], object], name: str) -> None:
    """A part that is not emulated fails, and its name is what the case is told."""
    with pytest.raises(RuntimeError):
        call()

    assert (name,) == libraries.refused()
