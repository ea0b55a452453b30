"""Which storages on the card hold real bytes, and those bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from pytest_vramguard.devices.emulated.known.truths import Truths
from pytest_vramguard.devices.emulated.libraries import REAL_COPY_BYTES, core
from pytest_vramguard.units import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterable

WHOLE_NUMBERS_BYTES: Final = 4 * MIB
"""Largest storage of whole numbers or truth values that is kept known: the labels of 64 sequences of 8192 tokens."""
REAL_NUMBERS_BYTES: Final = 64 * KIB
"""Largest storage of floating-point numbers that is kept known: those shape nothing but through comparisons of a few."""
PRUNE_EVERY: Final = 4096
"""Storages added between two searches for dead ones."""


@dataclass(kw_only=True, slots=True)
class KnownStorages:
    """The storages whose bytes on the card are what a real card would hold.

    Knownness belongs to the storage, not to its address: it ends with the storage, and with any write of unknown values. The
    weak reference keeps the identity of a dead storage from being given to a new one.
    """

    _alive: dict[int, StorageWeakRef] = field(default_factory=dict)
    _added: int = 0
    truths: Truths = field(default_factory=Truths)
    """Those among all storages that hold one truth value everywhere."""

    def holds(self, tensor: Tensor) -> bool:
        """Return whether the values of `tensor` are known. Those of a sparse tensor, which has no storage, never are."""
        return tensor.layout is torch.strided and tensor.untyped_storage()._cdata in self._alive

    def holds_all(self, tensors: Iterable[Tensor]) -> bool:
        """Return whether every tensor among them is known: it is on the host, or noted."""
        return all(not tensor.is_cuda or self.holds(tensor) for tensor in tensors)

    def add(self, tensor: Tensor) -> None:
        """Note that the whole storage of `tensor` is known."""
        storage = tensor.untyped_storage()
        self._alive[storage._cdata] = StorageWeakRef(storage)
        self._added += 1
        if self._added % PRUNE_EVERY == 0:
            self._alive = {key: alive for key, alive in self._alive.items() if not alive.expired()}

    def forget(self, tensor: Tensor) -> None:
        """Note that something unknown was written to the storage of `tensor`."""
        if tensor.layout is torch.strided:
            self._alive.pop(tensor.untyped_storage()._cdata, None)
            self.truths.forget(tensor)


def is_dense(value: object) -> bool:
    """Return whether `value` has no other layout than memory has: no sparse tensor."""
    return getattr(value, "layout", torch.strided) is torch.strided


def is_small(tensor: Tensor) -> bool:
    """Return whether `tensor` has a storage that is small enough to be kept known."""
    if tensor.layout is not torch.strided:
        return False
    most = REAL_NUMBERS_BYTES if tensor.is_floating_point() or tensor.is_complex() else WHOLE_NUMBERS_BYTES
    return tensor.untyped_storage().nbytes() <= most


def on_host(tensor: Tensor) -> Tensor:
    """Return a copy on the CPU, of the whole storage and with the same strides, of a tensor on the card."""
    size_bytes = tensor.untyped_storage().nbytes()
    storage = torch.UntypedStorage(size_bytes)
    _copy(storage.data_ptr(), tensor.untyped_storage().data_ptr(), size_bytes)
    copied = torch.empty(0, dtype=tensor.dtype)
    return copied.set_(storage, tensor.storage_offset(), tensor.size(), tensor.stride())


def write_storage(tensor: Tensor, computed: Tensor) -> None:
    """Write the whole storage of `computed`, a CPU tensor made by `on_host`, over that of `tensor`."""
    _copy(tensor.untyped_storage().data_ptr(), computed.untyped_storage().data_ptr(), computed.untyped_storage().nbytes())


def write_values(tensor: Tensor, computed: Tensor) -> None:
    """Write the values of `computed`, a CPU tensor of any strides, to a dense tensor on the card that owns its storage."""
    laid_out = computed
    if computed.stride() != tensor.stride() or computed.dtype != tensor.dtype:
        laid_out = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype)
        laid_out.copy_(computed)
    _copy(tensor.data_ptr(), laid_out.data_ptr(), tensor.untyped_storage().nbytes())


def write_dense(tensor: Tensor, computed: Tensor) -> None:
    """Write the values of `computed`, a CPU tensor, to a contiguous tensor on the card, and to nothing else in its storage."""
    _copy(tensor.data_ptr(), computed.contiguous().data_ptr(), tensor.nbytes)


def _copy(to: int, source: int, size_bytes: int) -> None:
    """Copy between host and card in pieces that the card keeps for real."""
    for done in range(0, size_bytes, REAL_COPY_BYTES):
        core().vg_copy_uncounted(to + done, source + done, min(REAL_COPY_BYTES, size_bytes - done))
