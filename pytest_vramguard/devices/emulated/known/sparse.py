"""Entries of sparse tensors: how many are left once those of one place are added up. The card counts, and the host waits."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from pytest_vramguard.devices.emulated.known.storages import KnownStorages, on_host, write_dense
from pytest_vramguard.devices.emulated.libraries import note_read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch._ops import OpOverload

    from pytest_vramguard.devices.emulated.known.operands import Arguments, Keywords
    from pytest_vramguard.devices.emulated.known.plans import Plan
    from pytest_vramguard.devices.emulated.known.reads import ReadLog

COUNT_BYTES: Final = 8
"""Of the count that is copied to the host."""
SORTED_BYTES: Final = 16
"""For each entry, its place and its number among the entries, between which and another such pair of arrays Thrust sorts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SparseEntries:
    """Counts the entries of sparse tensors."""

    known: KnownStorages
    log: ReadLog

    def coalesced(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Tensor:
        """Run `_coalesce`. Where places are not known, every entry is taken to have one of its own, and that is reported."""
        sparse: Tensor = args[0]
        if not sparse.is_cuda or sparse._nnz() < 2:  # fewer are copied as they are
            result: Tensor = func(*args, **kwargs)
            return result
        note_read(COUNT_BYTES)
        places = sparse._indices()
        if not self.known.holds(places):
            self.log.note_shape(plan.name)
            return _with_entries(sparse, sparse._nnz())
        distinct = _distinct(on_host(places), sparse.shape[: sparse.sparse_dim()])
        result = _with_entries(sparse, distinct.shape[1])
        write_dense(result._indices(), distinct)
        self.known.add(result._indices())
        return result


def _distinct(places: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the places that differ, in order, a row for each of the dimensions, which have these sizes."""
    strides = [*accumulate(reversed(sizes[1:]), mul, initial=1)][::-1]
    flat: Any = sum(row * stride for row, stride in zip(places, strides, strict=True))
    found = flat.unique()
    return torch.stack([found // stride % size for stride, size in zip(strides, sizes, strict=True)])


def _with_entries(sparse: Tensor, count: int) -> Tensor:
    """Return a sparse tensor of the same shape with so many entries, and allocate on the way what torch does.

    Source: torch, aten/src/ATen/native/sparse/cuda/SparseCUDATensor.cu, `_coalesce_sparse_cuda`.
    """
    places, numbers = sparse._indices(), sparse._values()
    flat, order, offsets = (places.new_empty(sparse._nnz()) for _ in range(3))
    sorting = torch.empty(SORTED_BYTES * sparse._nnz(), dtype=torch.uint8, device=places.device)
    del sorting
    kept = numbers.new_empty((count, *numbers.shape[1:]))
    kept_places = flat[:count].view(1, -1) if len(places) == 1 else places.new_empty((len(places), count))
    del order, offsets
    return torch.sparse_coo_tensor(kept_places, kept, sparse.shape, is_coalesced=True, check_invariants=False)
