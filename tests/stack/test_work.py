"""What is counted of a step on the emulated card: once each, with its place, and without a byte of difference."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from pytest_vramguard.devices.emulated.known.mode import KnownValues
from pytest_vramguard.devices.emulated.known.watch import watching
from pytest_vramguard.devices.emulated.work import WorkWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_vramguard.reading import Work

pytestmark = [pytest.mark.stack]


@pytest.fixture(scope="module")
def values() -> Iterator[KnownValues]:
    """Run this module's operators on the emulated card with known values."""
    torch.cuda.init()
    mode = KnownValues()
    with watching(mode):
        yield mode


def work_of(values: KnownValues, call: Callable[[], object], *, steps: int = 1) -> Work:
    """Return what so many steps of a call asked for."""
    watch = WorkWatch(values)
    for _ in range(steps):
        with watch.step():
            call()
    return watch.work


def known() -> Tensor:
    """Return whole numbers on the card whose values are known."""
    return torch.arange(16, device="cuda")


UNKNOWN_BYTES = 4 * 2 * 4 * 64 * 64
WAITS: dict[str, tuple[Callable[[Tensor, Tensor], object], int, int]] = {
    "item of a known value": (lambda x, _: x[0].item(), 1, 8),
    "item of an unknown value": (lambda _, y: y.sum().item(), 1, 4),
    "truth": (lambda x, _: bool((x > 3).any()), 1, 1),
    "equality": (lambda x, _: torch.equal(x, x), 1, 1),
    "list": (lambda x, _: x.tolist(), 1, 128),
    "copy to the host": (lambda _, y: y.cpu(), 1, UNKNOWN_BYTES),
    "positions": (lambda x, _: (x > 3).nonzero(), 1, 8),
    "mask": (lambda x, _: x[x > 3], 1, 8),
    "masked_select": (lambda x, _: x.masked_select(x > 3), 1, 8),
    "written by mask": (lambda x, _: x.clone().index_put_((x > 3,), x[0]), 1, 8),
    "unique": (lambda x, _: x.unique(), 1, 8),
    "wait for the card": (lambda _x, _y: torch.cuda.synchronize(), 1, 0),
    "wait for an event": (lambda _x, _y: torch.cuda.current_stream().record_event().synchronize(), 1, 0),
    "nothing but kernels": (lambda x, y: (x * 2, y @ y, torch.where(x > 3, x, 0)), 0, 0),
    "made on the card": (lambda _x, _y: (torch.zeros(9, device="cuda"), torch.arange(9, device="cuda")), 0, 0),
}


@pytest.mark.parametrize("name", WAITS)
def test_what_the_host_waits_for(values: KnownValues, name: str) -> None:
    """An operator that gives the host a value, or a shape, makes it wait once, and copies that value alone."""
    call, waits, size_bytes = WAITS[name]
    x, y = known(), torch.randn(2, 4, 64, 64, device="cuda")

    work = work_of(values, lambda: call(x, y))

    assert (waits, 0, size_bytes) == (work.sync_count, work.bytes_to_device, work.bytes_to_host)


def test_a_copy_to_the_card_is_counted_and_waited_for(values: KnownValues) -> None:
    """From memory that is not pinned; the values that the emulation keeps known are not counted again."""
    work = work_of(values, lambda: torch.arange(16).cuda() + 1, steps=3)

    assert (3, 3, 3 * 128, 0) == (work.step_count, work.sync_count, work.bytes_to_device, work.bytes_to_host)


READS_GRADIENT = """
import torch

class ReadsGradient(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        torch.cuda.synchronize()
        return gradient
"""
"""What a library waits for while gradients are computed, in a thread of torch."""


def test_places_are_lines_of_this_file(values: KnownValues) -> None:
    """A wait has its line, its source and how often it happened; one of a backward pass that of the call of `backward`."""
    library: dict[str, Any] = {}
    exec(compile(READS_GRADIENT, "/site-packages/peft/reads.py", "exec"), library)  # noqa: S102 (our own text)
    x = torch.randn(8, device="cuda", requires_grad=True)

    def step() -> None:
        x.detach().sum().item()
        library["ReadsGradient"].apply(x).sum().backward()

    first = inspect.getsourcelines(step)[1]
    read, gradient = sorted(work_of(values, step, steps=2).syncs, key=lambda site: site.place)

    assert ("x.detach().sum().item()", None, 2) == (read.code, read.via, read.count)
    assert ("peft/reads.py:11", 2) == (gradient.via, gradient.count)
    assert [f"test_work.py:{first + line}" for line in (1, 2)] == [site.place.rpartition("/")[2] for site in (read, gradient)]


def test_kernels_and_library_calls_are_told_apart(values: KnownValues) -> None:
    """An addition is a kernel, a product a call of cuBLAS."""
    y = torch.randn(64, 64, device="cuda")

    work = work_of(values, lambda: (y + y, y + y, y @ y))

    assert (2, 1, 3) == (work.kernel_launches, work.library_calls, work.launches)


def test_allocations_that_reach_the_driver(values: KnownValues) -> None:
    """A large tensor is one, and the next of its size none, since PyTorch keeps the memory."""
    torch.cuda.empty_cache()

    work = work_of(values, lambda: torch.empty(64 << 20, dtype=torch.uint8, device="cuda"), steps=2)

    assert (1, 2) == (work.driver_allocations, work.step_count)


def test_a_step_that_breaks_off_is_not_counted(values: KnownValues) -> None:
    """Half a step would pass for less work."""
    watch = WorkWatch(values)

    with pytest.raises(RuntimeError, match="size mismatch"), watch.step():
        torch.randn(4, int(known().sum()), device="cuda") @ known()

    assert (0, 0, 0, ()) == (watch.work.step_count, watch.work.launches, watch.work.flops, watch.work.syncs)


def _half(*shape: int) -> Tensor:
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16, requires_grad=True)


COMPUTED: dict[str, Callable[[], Tensor]] = {
    "linear with bias": lambda: torch.nn.functional.linear(_half(2, 5, 64), _half(32, 64), _half(32)),
    "product of matrices": lambda: _half(16, 24) @ _half(24, 8),
    "product of batches": lambda: _half(3, 16, 24) @ _half(3, 24, 8),
    "sum and product of batches": lambda: torch.baddbmm(_half(3, 16, 8), _half(3, 16, 24), _half(3, 24, 8)),
    "attention": lambda: scaled_dot_product_attention(_half(2, 4, 96, 64), _half(2, 4, 128, 64), _half(2, 4, 128, 64)),
    "attention of 32 bits": lambda: scaled_dot_product_attention(
        _half(2, 4, 96, 64).float(), _half(2, 4, 128, 64).float(), _half(2, 4, 128, 64).float()
    ),
    "convolution": lambda: torch.nn.functional.conv2d(_half(2, 4, 16, 16), _half(8, 4, 3, 3), _half(8), stride=2),
    "transposed convolution": lambda: torch.nn.functional.conv_transpose1d(_half(2, 4, 16), _half(4, 8, 3), stride=2),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_operations_are_those_that_torch_counts(values: KnownValues, name: str) -> None:
    """Forward and backward passes take as many floating-point operations as PyTorch's own counter says."""
    with FlopCounterMode(display=False) as counter:
        COMPUTED[name]().sum().backward()

    work = work_of(values, lambda: COMPUTED[name]().sum().backward(), steps=2)

    assert counter.get_total_flops() == work.flops > 0


def test_counting_changes_no_byte(values: KnownValues) -> None:
    """The same step allocates and holds the same, counted or not, as does what comes after it."""

    def held() -> list[int]:
        x = _half(64, 128)
        torch.cuda.reset_peak_memory_stats()
        kept = []
        for _ in range(3):
            logits = x @ x.t()
            kept.append(logits.float().sum().item())
            logits.sum().backward()
            del logits
            kept += [torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated(), torch.cuda.memory_reserved()]
        return [int(number) for number in kept]

    uncounted = held()
    counted: list[int] = []
    work_of(values, lambda: counted.extend(held()))

    assert uncounted == counted
