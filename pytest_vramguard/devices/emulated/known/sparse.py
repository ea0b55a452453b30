"""Operators of sparse tensors, whose number of entries is decided by values: the card counts, and the host waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from pytest_vramguard.devices.emulated.known.circumstances import on_card
from pytest_vramguard.devices.emulated.known.operands import Arguments, Keywords, read_by, tensors_in
from pytest_vramguard.devices.emulated.known.plans import MAKING_SPARSE, Kind, Plan
from pytest_vramguard.devices.emulated.known.shapes import COUNT_BYTES
from pytest_vramguard.devices.emulated.known.storages import KnownStorages, is_dense, on_host, write_dense
from pytest_vramguard.devices.emulated.libraries import note_read

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from torch._ops import OpOverload

    from pytest_vramguard.devices.emulated.known.reads import ReadLog

SORTED_BYTES: Final = 16
"""Of scratch for each entry while Thrust sorts: a second copy of its place and of its number. Source: as `_with_entries`."""
COUNTED_BY_KERNELS: Final = {"aten::index_select": 1, "aten::mul": 2, "aten::mul_": 1}
"""Operators whose own kernels count entries, which nobody sees, if so many sparse tensors are given beside what is written to:
where several meet, kernels look for the places that all have. Source: torch, aten/src/ATen/native/native_functions.yaml, what
they are on SparseCUDA."""
ACCESSORS: Final = ("aten::_indices", "aten::_values", "aten::detach")
"""Operators that return what is there."""
COPIES: Final = ("aten::_to_copy", "aten::copy_")
"""Operators that may take numbers to the host, and count none."""


@dataclass(kw_only=True, slots=True)
class SparseOperators:
    """Runs operators of sparse tensors with the mode inside them, which sees the dense tensors that those are made of."""

    known: KnownStorages
    log: ReadLog
    mode: AbstractContextManager[Any]
    seen: bool = False
    """Whether there may be sparse tensors: before, nobody looks for them among the arguments of all operators."""
    _opened: OpOverload | None = None
    """The operator that is run with the mode inside it, innermost."""

    def begin(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run an operator that is there for sparse tensors alone, or the first that gets one."""
        self.seen = True
        if is_about_sparse(args, kwargs) or plan.name in MAKING_SPARSE:
            return self.run(func, plan, args, kwargs)
        return func(*args, **kwargs)

    def run(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run an operator of sparse tensors. A number that it reads inside is how many entries something has."""
        if func is self._opened or not _is_on_card(args, kwargs):  # `detach` asks for itself once more
            return func(*args, **kwargs)
        if plan.kind is Kind.COALESCED:
            return self._coalesced(plan, args[0])
        if hasattr(func, "redispatch"):
            result, counts = self._opened_up(func, args, kwargs)
        else:  # up to torch 2.2 there is no way into one that does not end the process for some
            result, counts = func(*args, **kwargs), _makes_tensors(func) and plan.name not in ACCESSORS
        if (counts or _is_counted_by_kernels(plan, args, kwargs)) and plan.name not in COPIES:
            self.log.note_shape(plan.name)
        return result

    def _opened_up(self, func: OpOverload, args: Arguments, kwargs: Keywords) -> tuple[Any, bool]:
        """Return the result of an operator with the mode inside it, and whether it read a number there that is not known."""
        read, outer = self.log.reads.total(), self._opened
        self._opened = func
        try:
            with self.mode:
                result = on_card(func, *args, **kwargs)
        finally:
            self._opened = outer
        return result, self.log.reads.total() > read

    def _coalesced(self, plan: Plan, sparse: Tensor) -> Tensor:
        """Add up entries. Where places are not known, every entry is taken to have one of its own, and that is reported."""
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


def is_about_sparse(args: Arguments, kwargs: Keywords) -> bool:
    """Return whether a sparse tensor is among the arguments."""
    return not all(map(is_dense, tensors_in(args, kwargs)))


def _is_counted_by_kernels(plan: Plan, args: Arguments, kwargs: Keywords) -> bool:
    """Return whether a kernel of an operator counts entries."""
    sparse = sum(not is_dense(tensor) for tensor in read_by(plan, args, kwargs))
    return sparse >= COUNTED_BY_KERNELS.get(plan.name, sparse + 1)


def _makes_tensors(func: OpOverload) -> bool:
    """Return whether an operator returns tensors, and not a size or a type that it is asked for."""
    return any("Tensor" in str(returned.type) for returned in func._schema.returns)


def _is_on_card(args: Arguments, kwargs: Keywords) -> bool:
    """Return whether a tensor among the arguments is on the card, or a result shall be."""
    return (
        any(tensor.is_cuda for tensor in tensors_in(args, kwargs)) or torch.device(kwargs.get("device") or "cpu").type == "cuda"
    )


def _distinct(places: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the places that differ, in order, a row for each of the dimensions, which have these sizes."""
    if not len(places):  # without dimensions there is one place
        return places[:, :1]
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
    added = numbers.contiguous()
    kept_places = flat[:count].view(1, -1) if len(places) == 1 else places.new_empty((len(places), count))
    del order, offsets, added
    return torch.sparse_coo_tensor(kept_places, kept, sparse.shape, is_coalesced=True, check_invariants=False)
