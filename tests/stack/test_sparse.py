"""Sparse tensors have as many entries on the emulated card as on the CPU, or it is reported that nobody knows how many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from pytest_vramguard.meter.blocks import Owner
from pytest_vramguard.meter.owners import PARTS, Owners

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_vramguard.devices.emulated.known.mode import KnownValues

pytestmark = [
    pytest.mark.stack,
    pytest.mark.usefixtures("values"),
    pytest.mark.filterwarnings("ignore:Sparse:UserWarning"),  # torch calls them beta, and does not check them
]

SIDE = 6
places = st.lists(st.lists(st.integers(0, SIDE - 1), min_size=9, max_size=9), min_size=1, max_size=3)

OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "coalesced": lambda x: x.coalesce(),
    "sum of two": lambda x: (x + x.coalesce()).coalesce(),
    "compressed": lambda x: x.to_sparse_csr().to_sparse(),
    "softmax": lambda x: torch.sparse.softmax(x, 1),
    "summed rows": lambda x: torch.sparse.sum(x, 0),
    "on the host": lambda x: x.cpu().coalesce(),
    "of another type": lambda x: x.to(torch.float16).coalesce(),
    "places of another one": lambda x: torch.ones(x.shape, device=x.device).sparse_mask(x.coalesce()),
    "a row": lambda x: x[0].coalesce(),
    "times a number": lambda x: (x * 2.5).coalesce(),
    "turned": lambda x: x.t().coalesce(),
    "joined": lambda x: torch.cat([x, x]).coalesce(),
    "from the host": lambda x: x.cpu().to(x.device).coalesce(),
    "no number": lambda x: torch.isnan(x.coalesce()),
    "without dimensions": lambda x: torch.sparse.sum(x.unsqueeze(0), (0, 1, 2)).to_sparse(),
}
OF_UNKNOWN: dict[str, Callable[[Tensor], object]] = {
    "_coalesce": lambda x: torch.sparse_coo_tensor((x > 0).long()[:2], x[0], (2, 2)).coalesce(),
    "nonzero": lambda x: x.to_sparse(),
    "nonzero of rows": lambda x: x.to_sparse_csr(),
    "nonzero of columns": lambda x: x.to_sparse_csc(),
    "nonzero of blocks": lambda x: x.to_sparse_bsr((2, 2)),
    "mul": lambda x: torch.eye(64).to_sparse().to(x.device) * torch.eye(64).to_sparse().to(x.device),
    "index_select": lambda x: torch.ones(64, 64).to_sparse().to(x.device).index_select(0, torch.tensor([1, 2]).cuda()),
}


@given(rows=places)
@settings(max_examples=50, deadline=None)
def test_known_places_are_counted(rows: list[list[int]]) -> None:
    """Entries of one place are one entry, whatever the number of dimensions, and where they are is still known."""
    entries = torch.sparse_coo_tensor(torch.tensor(rows), torch.ones(len(rows[0])), (SIDE,) * len(rows))

    on_card = torch.sparse_coo_tensor(torch.tensor(rows).cuda(), torch.ones(len(rows[0])).cuda(), (SIDE,) * len(rows))

    assert torch.equal(entries.coalesce().indices(), on_card.coalesce().indices().cpu())
    assert on_card.coalesce().is_coalesced()


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_give_as_many_entries(name: str) -> None:
    """Operators of PyTorch that count entries inside see the true number."""
    rows = torch.tensor([[0, 0, 1, 5, 5, 5], [2, 2, 3, 0, 0, 1]])
    numbers = torch.ones(6)

    found = OPERATORS[name](torch.sparse_coo_tensor(rows.cuda(), numbers.cuda(), (SIDE, SIDE)))

    assert OPERATORS[name](torch.sparse_coo_tensor(rows, numbers, (SIDE, SIDE)))._nnz() == found._nnz()


@pytest.mark.parametrize("name", OF_UNKNOWN)
def test_unknown_entries_are_reported(values: KnownValues, name: str) -> None:
    """A number of entries that values decide which nobody computed is named with the place that asked."""
    before = dict(values.log.shapes)
    scores = torch.randn(64, 64).cuda()
    scores = torch.cat([scores] * 64)  # more numbers than are kept known

    OF_UNKNOWN[name](scores)

    asked = [place for place, times in values.log.shapes.items() if times > before.get(place, 0)]
    assert any(place.startswith(f"{name.partition(' ')[0]} at ") for place in asked)
    assert all("test_sparse.py" in place for place in asked)


def test_a_tensor_of_the_host_is_counted_there() -> None:
    """An operator of sparse tensors that has nothing to do with the card is left alone."""
    entries = torch.sparse_coo_tensor(torch.tensor([[0, 0, 1]]), torch.ones(3), (SIDE,))

    assert 2 == (entries + entries).coalesce()._nnz()


def test_unknown_places_are_all_taken_to_differ() -> None:
    """What cannot be counted is not counted as less than it may be."""
    rows = (torch.randn(2, 20_000).cuda() > 0).long()
    entries = torch.sparse_coo_tensor(rows, torch.ones(20_000).cuda(), (2, 2))

    assert 20_000 == entries.coalesce()._nnz()


def peak_bytes(run: Callable[[], object]) -> int:
    """Return how many bytes more are allocated while something runs."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated() - before


@pytest.mark.parametrize("dimensions", [1, 2])
def test_sorting_takes_the_memory_that_torch_takes(dimensions: int) -> None:
    """The largest number of bytes is that of PyTorch's own operator, which finds no entries, so that sorting is all it does."""
    places = torch.zeros(dimensions, 50_000).long().cuda()
    entries = torch.sparse_coo_tensor(places, torch.ones(50_000).cuda(), (1,) * dimensions)

    with _disable_current_modes():
        theirs = peak_bytes(lambda: torch.ops.aten._coalesce(entries))

    assert theirs == pytest.approx(peak_bytes(entries.coalesce), rel=0.01)


def test_numbers_that_are_spread_are_laid_out_first() -> None:
    """Values that do not lie in order, as slices of a gradient, are copied before they are added up."""
    places = torch.arange(50_000).cuda()[None]
    in_order, spread = torch.ones(50_000, 64).cuda(), torch.ones(64, 50_000).cuda().t()

    peaks = [peak_bytes(torch.sparse_coo_tensor(places, numbers).coalesce) for numbers in (in_order, spread)]

    assert in_order.nbytes == peaks[1] - peaks[0]


def test_products_with_dense_tensors_see_the_entries(values: KnownValues) -> None:
    """A product adds up the entries first, and reports that it could not count them."""
    places = (torch.randn(2, 20_000).cuda() > 0).long()
    entries = torch.sparse_coo_tensor(places, torch.ones(20_000).cuda(), (2, 2))
    before = values.log.shapes.total()

    product = entries @ torch.ones(2, 4).cuda()

    assert (2, 4) == product.shape
    assert before + 1 == values.log.shapes.total()


def test_trained_entries(values: KnownValues) -> None:
    """Numbers that are parameters stand in a sparse tensor, as in FRoD, and have gradients."""
    numbers = torch.nn.Parameter(torch.ones(6).cuda())
    rows = torch.tensor([[0, 0, 1, 5, 5, 5], [2, 2, 3, 0, 0, 1]]).cuda()
    before = values.log.shapes.total()

    entries = torch.sparse_coo_tensor(rows, numbers, (SIDE, SIDE)).coalesce()
    (torch.ones(2, SIDE).cuda() @ entries.to_dense()).sum().backward()

    assert 4 == entries._nnz()
    assert numbers.grad is not None
    assert before == values.log.shapes.total()


@pytest.mark.parametrize("layout", PARTS)
def test_memory_of_sparse_buffers_has_an_owner(layout: torch.layout) -> None:
    """Places and values of a sparse tensor, however it is laid out, belong to the module that it is a buffer of."""
    blocks = (2, 2) if layout in {torch.sparse_bsr, torch.sparse_bsc} else None
    edges = torch.eye(SIDE).to_sparse(layout=layout, blocksize=blocks).cuda()
    module = torch.nn.Module()
    module.register_buffer("edges", edges)

    owned = Owners().module_memory()

    addresses = [getattr(edges, part)().untyped_storage().data_ptr() for part in PARTS[layout]]
    assert all(Owner.WEIGHTS is owned[address].owner for address in addresses)
    assert len(set(addresses)) == len(PARTS[layout])


def test_sparse_gradients_of_an_embedding(values: KnownValues) -> None:
    """SparseAdam trains an embedding that is used twice, whose gradient has an entry for each of its tokens."""
    embedding = torch.nn.Embedding(1000, 16, sparse=True).cuda()
    optimizer = torch.optim.SparseAdam(embedding.parameters())
    before = values.log.shapes.total()

    (embedding(torch.tensor([[1, 2, 2]]).cuda()).sum() + embedding(torch.tensor([[2, 7]]).cuda()).sum()).backward()
    gradient = embedding.weight.grad
    assert gradient is not None
    optimizer.step()

    assert 3 == gradient.coalesce()._nnz()
    assert before == values.log.shapes.total()
