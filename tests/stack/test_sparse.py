"""Sparse tensors have as many entries on the emulated card as on the CPU, or it is reported that nobody knows how many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

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
}
OF_UNKNOWN: dict[str, Callable[[Tensor], object]] = {
    "_coalesce": lambda x: torch.sparse_coo_tensor((x > 0).long()[:2], x[0], (2, 2)).coalesce(),
    "nonzero": lambda x: x.to_sparse(),
    "nonzero of rows": lambda x: x.to_sparse_csr(),
    "nonzero of columns": lambda x: x.to_sparse_csc(),
    "nonzero of blocks": lambda x: x.to_sparse_bsr((2, 2)),
    "index_select": lambda x: torch.ones(64, 64).to_sparse().to(x.device).index_select(0, torch.tensor([1, 2]).cuda()),
}


@given(rows=places)
@settings(max_examples=50, deadline=None)
def test_known_places_are_counted(rows: list[list[int]]) -> None:
    """Entries of one place are one entry, whatever the number of dimensions."""
    entries = torch.sparse_coo_tensor(torch.tensor(rows), torch.ones(len(rows[0])), (SIDE,) * len(rows))

    on_card = torch.sparse_coo_tensor(torch.tensor(rows).cuda(), torch.ones(len(rows[0])).cuda(), (SIDE,) * len(rows))

    assert entries.coalesce()._nnz() == on_card.coalesce()._nnz()
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
    assert asked
    assert all(place.startswith(f"{name.partition(' ')[0]} at ") and "test_sparse.py" in place for place in asked)


def test_unknown_places_are_all_taken_to_differ() -> None:
    """What cannot be counted is not counted as less than it may be."""
    rows = (torch.randn(2, 20_000).cuda() > 0).long()
    entries = torch.sparse_coo_tensor(rows, torch.ones(20_000).cuda(), (2, 2))

    assert 20_000 == entries.coalesce()._nnz()


def test_counting_takes_the_memory_that_torch_takes() -> None:
    """The largest number of bytes while entries are sorted is that of PyTorch's own operator, but for some KiB."""
    count = 200_000
    entries = torch.sparse_coo_tensor(torch.randint(count, (1, count)).cuda(), torch.ones(count).half().cuda(), (count,))

    def peak_bytes() -> int:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        entries.coalesce()
        return torch.cuda.max_memory_allocated() - before

    ours = peak_bytes()
    with _disable_current_modes():
        theirs = peak_bytes()

    assert theirs == pytest.approx(ours, rel=0.01)


def test_sparse_gradients_of_an_embedding() -> None:
    """SparseAdam trains an embedding whose gradient has an entry for each token."""
    embedding = torch.nn.Embedding(1000, 16, sparse=True).cuda()
    optimizer = torch.optim.SparseAdam(embedding.parameters())

    embedding(torch.tensor([[1, 2, 2]]).cuda()).sum().backward()
    gradient = embedding.weight.grad
    assert gradient is not None
    optimizer.step()

    assert 2 == gradient.coalesce()._nnz()
