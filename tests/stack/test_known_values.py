"""Values that shape a computation are the same on the emulated card as on the CPU."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pytest_vramguard.devices.emulated.known.event_times import event_times_seen
from pytest_vramguard.devices.emulated.known.threads import entered_by_threads

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from pytest_vramguard.devices.emulated.known.mode import KnownValues

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("values")]

ROWS, COLUMNS = 3, 5

LARGE = torch.Size((4096, 512))
"""Of 4-byte numbers: 8 MiB, more than is ever kept known."""


def known(rows: list[list[int]]) -> Tensor:
    """Return whole numbers on the card, from the host."""
    return torch.tensor(rows, dtype=torch.int64).cuda()


whole_numbers = st.lists(st.lists(st.integers(-100, 5), min_size=COLUMNS, max_size=COLUMNS), min_size=ROWS, max_size=ROWS)

OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "comparison": lambda x: x != -100,
    "mask of a mask": lambda x: (x > -50) & ~(x == 0),
    "count": lambda x: (x > 0).sum(),
    "count in rows": lambda x: (x != -100).sum(dim=-1),
    "positions": lambda x: (x > 0).cumsum(-1) - 1,
    "filled": lambda x: x.masked_fill(x < 0, 7),
    "shifted": lambda x: x[..., 1:].contiguous(),
    "padded": lambda x: torch.nn.functional.pad(x, (0, 2), value=-100),
    "nonzero": lambda x: (x > 0).nonzero(),
    "masked_select": lambda x: x.masked_select(x > -60),
    "boolean indexing": lambda x: x[x > -60],
    "boolean rows": lambda x: x[(x > -60).any(dim=1)],
    "unique": lambda x: x.unique(),
    "unique with counts": lambda x: torch.unique(x, return_counts=True)[1],
    "bincount": lambda x: torch.bincount(x.flatten() + 100),
    "repeat_interleave": lambda x: x.flatten().repeat_interleave((x.flatten() > 0).long() + 1),
    "sorted": lambda x: x.sort(dim=-1, stable=True).indices,
    "top": lambda x: x.topk(2, dim=-1).values,
    "largest": lambda x: x.argmax(dim=-1),
    "where": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
    "gathered": lambda x: x.gather(1, x.clamp(0, COLUMNS - 1)),
    "scattered": lambda x: torch.zeros_like(x).scatter_(1, x.clamp(0, COLUMNS - 1), 1),
    "in place": lambda x: x.clone().add_(1).mul_(2),
    "written by mask": lambda x: x.clone().index_put_((x > 0,), torch.tensor(9, device=x.device)),
    "written through a view": lambda x: _with_first_column(x.clone(), 3),
    "transposed": lambda x: x.t().contiguous(),
    "mean of a few": lambda x: (x.float() / 3).mean(),
    "one_hot": lambda x: torch.nn.functional.one_hot(x.clamp(0, 5), 6),
    "searched": lambda x: torch.searchsorted(torch.arange(-100, 6, 10, device=x.device), x.contiguous()),
    "bucketed": lambda x: torch.bucketize(x, torch.arange(-100, 6, 10, device=x.device)),
    "unique rows": lambda x: torch.unique(x, dim=0),
    "unique neighbours": lambda x: torch.unique_consecutive((x > 0).flatten(), return_counts=True)[1],
    "filled by mask": lambda x: torch.zeros_like(x).masked_scatter(x > 0, x),
    "set by mask": lambda x: _with_positives(x.clone(), 7),
    "split by known sizes": lambda x: x.flatten().split(
        [*((x[:, 0] > 0).long() + 1).tolist(), 15 - 3 - int((x[:, 0] > 0).sum())]
    )[1],
    "positions of a packed row": lambda x: _positions_of_runs((x > 0).flatten()),
    "taken in order": lambda x: x.flatten()[x.flatten().argsort(stable=True)],
    "tril": lambda x: torch.ones(5, 5, dtype=torch.bool, device=x.device).tril() & (x[0] > 0)[None],
    "differences": lambda x: torch.nn.functional.pad((x > 0).sum(dim=1).cumsum(0, dtype=torch.int32), (1, 0)).diff(),
    "flipped": lambda x: x.flip(1).roll(1, 0),
    "any": lambda x: torch.stack([(x > 0).any(), (x < 0).all()]),
    "minimum": lambda x: torch.minimum(x.amax(1), x.amin(1)),
    "stacked": lambda x: torch.cat([torch.stack([x, x]), x[None]]).transpose(0, 1),
    "index_select": lambda x: x.index_select(1, x[0].clamp(0, COLUMNS - 1)),
    "index_add": lambda x: torch.zeros_like(x).index_add_(1, x[0].clamp(0, COLUMNS - 1), x),
    "scatter_add": lambda x: torch.zeros(8, dtype=x.dtype, device=x.device).scatter_add_(0, x[0].clamp(0, 7), x[1]),
    "repeated": lambda x: x.repeat_interleave(3, dim=1),
    "tiled": lambda x: x.tile(2, 2),
    "created on the card": lambda x: torch.arange(x.numel(), device=x.device) % 3,
}


def _with_positives(x: Tensor, value: int) -> Tensor:
    x[x > 0] = value
    return x


def _positions_of_runs(starts: Tensor) -> Tensor:
    """Return each element's distance from the last start before it, as position ids of packed samples are made."""
    places = torch.arange(starts.numel(), device=starts.device)
    return places - (places * starts).cummax(0).values


def _with_first_column(x: Tensor, value: int) -> Tensor:
    x[:, 0] = value
    return x


in_grad_modes = pytest.mark.parametrize("grad_mode", [torch.enable_grad, torch.inference_mode])
"""Autograd takes composite operators apart; in inference mode they come whole."""
READS: dict[str, Callable[[Tensor], object]] = {
    "item": Tensor.item,
    "cpu": lambda x: x.cpu().item(),
    "to": lambda x: x.to("cpu", torch.int8).item(),
    "bool": bool,
    "tolist": lambda x: x[None].tolist()[0],
}


@in_grad_modes
@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())
@settings(max_examples=20, deadline=None)
@given(rows=whole_numbers)
def test_equals_the_cpu(
    operator: Callable[[Tensor], Tensor], grad_mode: Callable[[], AbstractContextManager[object]], rows: list[list[int]]
) -> None:
    """A small result that follows from host values has the values that the CPU computes."""
    with grad_mode():
        expected = operator(torch.tensor(rows, dtype=torch.int64))

        found = operator(known(rows))

    assert found.is_cuda
    assert expected.tolist() == found.tolist()


@pytest.mark.parametrize("count", [0, 1, 77, LARGE[0]])
def test_known_mask_over_a_large_tensor(count: int) -> None:
    """Indexing a large unknown tensor with a known mask gives as many rows as the mask has true values."""
    hidden = torch.empty(LARGE, device="cuda")
    mask = torch.arange(LARGE[0]).cuda() < count

    assert (count, LARGE[1]) == tuple(hidden[mask].shape)
    assert count * LARGE[1] == hidden.masked_select(mask[:, None]).numel()


def test_gradient_through_a_masked_large_tensor() -> None:
    """The backward pass of an indexing by mask, and of a scatter by mask, sees the true count too."""
    hidden = torch.empty(LARGE, device="cuda", requires_grad=True)
    source = torch.empty(LARGE, device="cuda", requires_grad=True)
    mask = (torch.arange(LARGE[0]).cuda() < 10)[:, None].expand(LARGE)

    hidden.masked_scatter(mask, source)[mask[:, 0]].sum().backward()

    assert hidden.grad is not None
    assert source.grad is not None
    assert LARGE == hidden.grad.shape == source.grad.shape


@in_grad_modes
@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_unknown_value_is_read_as_zero_and_reported(
    values: KnownValues, read: Callable[[Tensor], object], grad_mode: Callable[[], AbstractContextManager[object]]
) -> None:
    """A value that a kernel would have computed is read as 0, with the place that read it."""
    before = values.log.reads.total()

    with grad_mode():
        found = read((torch.rand(LARGE, device="cuda") > 0.5).sum())

    assert 0 == found
    assert before + 1 == values.log.reads.total()
    assert any("test_known_values.py" in place for place in values.log.reads)


@in_grad_modes
def test_reading_a_loss_is_counted_apart(values: KnownValues, grad_mode: Callable[[], AbstractContextManager[object]]) -> None:
    """A floating-point number is mostly read to be printed: it is 0, and its places are not among those of counts."""
    reads, metrics = values.log.reads.total(), values.log.metrics.total()

    with grad_mode():
        loss = torch.rand(LARGE, device="cuda").mean()

        assert 0.0 == loss.item() == loss.cpu() == torch.stack([loss, loss]).tolist()[1]
    assert (reads, metrics + 3) == (values.log.reads.total(), values.log.metrics.total())
    assert any("test_known_values.py" in place for place in values.log.metrics)


def test_a_large_copy_of_unknown_numbers_is_counted(values: KnownValues) -> None:
    """Whatever its size, what is copied to the host is zero and has a place."""
    before = values.log.reads.total()
    unknown = torch.randint(9, (2**19,), device="cuda")

    assert 0 == unknown.cpu().count_nonzero()
    assert before + 1 == values.log.reads.total()


@pytest.mark.parametrize(
    ("operator", "number"),
    [
        (torch.ones_like, 1),
        (torch.zeros_like, 0),
        (lambda x: torch.full_like(x, 3), 3),
        (lambda x: torch.full_like(x, fill_value=4), 4),
        (lambda x: x.new_zeros(8), 0),
        (lambda x: x.new_full((8,), 5), 5),
        (lambda x: x.new_ones((8,), dtype=torch.int32), 1),
    ],
)
def test_filled_in_the_shape_of_an_unknown_tensor(operator: Callable[[Tensor], Tensor], number: int) -> None:
    """What takes only its shape from an unknown tensor is known."""
    assert [number] * 8 == operator(torch.rand(8, device="cuda")).tolist()


def test_choice_of_experts_is_balanced(values: KnownValues) -> None:
    """The largest of scores that nobody computed are every expert in turn, and the place is reported."""
    before = values.log.balanced.total()

    chosen = torch.rand(6, 4, device="cuda").topk(2, dim=-1).indices

    assert [[0, 1], [2, 3]] * 3 == chosen.tolist()
    assert [3] * 4 == torch.histc(chosen.int(), bins=4, min=0, max=3).tolist()
    assert before + 1 == values.log.balanced.total()
    assert any("test_known_values.py" in place for place in values.log.balanced)


@pytest.mark.parametrize("shape", [(4096,), (2, 2048)], ids=["one row", "a vocabulary"])
def test_other_choices_are_not_balanced(values: KnownValues, shape: tuple[int, ...]) -> None:
    """The largest of one row, or of more alternatives than a layer has experts, is no router's choice, and unknown."""
    assert not values.known.holds(torch.rand(shape, device="cuda").topk(2, dim=-1).indices)


def test_times_are_reported(values: KnownValues) -> None:
    """Whoever asks for the time between two events is told to the user: it counts launches."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with event_times_seen(values.log.note_time):
        start.record()
        torch.zeros(8, device="cuda")
        end.record()
        torch.cuda.synchronize()

        assert start.elapsed_time(end) > 0
    assert 1 == sum(times for place, times in values.log.times.items() if "test_known_values.py" in place)


@in_grad_modes
@pytest.mark.parametrize("shaped", [Tensor.nonzero, torch.where, torch.argwhere])
def test_shape_from_an_unknown_value_is_reported(
    values: KnownValues, shaped: Callable[[Tensor], object], grad_mode: Callable[[], AbstractContextManager[object]]
) -> None:
    """A shape that an unknown value decides is reported with operator and place, so that the case is not judged."""
    before = values.log.shapes.total()

    with grad_mode():
        shaped(torch.rand(8, device="cuda") > 0.5)

    assert before + 1 == values.log.shapes.total()
    assert any(place.startswith("nonzero at ") and "test_known_values.py" in place for place in values.log.shapes)


def test_random_numbers_are_not_known(values: KnownValues) -> None:
    """What a generator on the card would have drawn is not known, however small."""
    assert not values.known.holds(torch.randint(0, 5, (4,), device="cuda"))


def test_knownness_ends_with_an_unknown_write(values: KnownValues) -> None:
    """A known tensor into which unknown values are copied is known no more."""
    labels = known([[1, 2, 3, 4, 5]])

    labels.copy_(torch.randint(0, 5, (1, 5), device="cuda"))

    assert not values.known.holds(labels)


def test_knownness_ends_with_the_storage(values: KnownValues) -> None:
    """Fresh memory at the address of a dead known tensor is not known, and reads as zero."""
    labels = known([[1, 2, 3, 4, 5]])
    address = labels.data_ptr()
    del labels

    recycled = torch.empty(1, 5, dtype=torch.int64, device="cuda")

    assert address == recycled.data_ptr()
    assert not values.known.holds(recycled)
    assert [[0] * 5] == recycled.tolist()


def test_host_copy_of_unknown_values_is_zero() -> None:
    """Copying unknown values to the host gives zeros, not stale bytes."""
    assert [0.0] * 8 == torch.rand(8, device="cuda").cpu().tolist()
    assert [0.0] * 8 == torch.full((8,), 3.0).copy_(torch.rand(8, device="cuda")).tolist()


@pytest.mark.parametrize(
    "view",
    [lambda x: x.t(), lambda x: x[:, 1], lambda x: x[0, :1].expand(4), lambda x: x[1:]],
    ids=["transposed", "column", "expanded", "rows"],
)
def test_host_copy_of_known_values_through_a_view(view: Callable[[Tensor], Tensor]) -> None:
    """Known values are the same on the host whatever view and type they are copied through."""
    rows = [[1, 2, 3], [4, 5, 6]]
    expected = view(torch.tensor(rows))

    assert expected.tolist() == view(known(rows)).tolist()
    assert expected.tolist() == view(known(rows)).to("cpu", torch.float32).tolist()
    assert expected.tolist() == torch.empty(expected.shape, dtype=torch.int32).copy_(view(known(rows))).tolist()


def test_large_results_stay_unknown(values: KnownValues) -> None:
    """A result too large to be kept is not computed, and costs no time."""
    assert not values.known.holds(torch.zeros(LARGE, device="cuda"))


@pytest.mark.parametrize("kind", ["function", "class", "pool"])
def test_threads_follow_values(values: KnownValues, kind: str) -> None:
    """In a thread of one's own known values are true, and a read of an unknown one is reported."""
    found: list[object] = []

    def look() -> None:
        found.append((known([[1, 0, 3]]) > 0).nonzero()[:, 1].tolist())
        found.append(bool(torch.randn(4, device="cuda").argmax() > 2))

    class Looker(threading.Thread):
        """A kind of thread that does not call what it is given."""

        def run(self) -> None:
            """Look."""
            look()

    before = values.log.reads.total()
    with entered_by_threads(values):
        if kind == "pool":
            with ThreadPoolExecutor(1) as pool:
                pool.submit(look).result()
        else:
            thread = Looker() if kind == "class" else threading.Thread(target=look)
            thread.start()
            thread.join()

    assert [[0, 2], False] == found
    assert before + 1 == values.log.reads.total()


def test_what_is_read_where_it_is_written_stays_unknown(values: KnownValues) -> None:
    """An output that is an input too has no former values that do not matter."""
    total = torch.randn(LARGE).cuda().sum()
    assert not values.known.holds(torch.add(total, torch.tensor(1.0).cuda(), out=total))
