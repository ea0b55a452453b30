"""What collectives leave in small tensors: counts, flags, sizes, pickled objects.

The emulated NCCL sends nothing. Where a call is small enough to shape anything, the ranks tell each other on the host what they
hold, or that they do not know it. If everything that the result needs is known, it is computed as NCCL would and is known; else
it is not, and a shape that depends on it is reported. Whether a call is small is decided by sizes that all ranks agree on. Not
followed, so never known: reduce-scatter, coalesced calls, all-to-all with uneven parts, and messages from rank to rank.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import torch
from torch import Tensor
from torch._C._distributed_c10d import _resolve_process_group
from torch.distributed import ProcessGroup, ReduceOp, get_process_group_ranks
from torch.utils._pytree import tree_leaves

from pytest_vramguard.devices.emulated.known.exchange import Exchange
from pytest_vramguard.devices.emulated.known.storages import WHOLE_NUMBERS_BYTES, on_host, write_dense
from pytest_vramguard.units import KIB

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import GroupName  # which older releases do not have

    from pytest_vramguard.devices.emulated.known.reads import ReadLog
    from pytest_vramguard.devices.emulated.known.storages import KnownStorages

REAL_NUMBERS_BYTES: Final = 4 * KIB
"""Largest floating-point tensor that is told: flags, norms and averages, but no weights."""
UNKNOWN: Final = b""
KNOWN: Final = b"\1"
"""First byte of a message with values."""

Values: TypeAlias = list[Tensor]
"""CPU tensors, shaped as those that a rank hands in."""
Combine: TypeAlias = Callable[[Mapping[int, Values], int], Values]
"""From the values by place in the group, and the own place, to those of the outputs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A collective, as far as values go."""

    group: ProcessGroup
    inputs: Sequence[Tensor]
    """What this rank hands in."""
    shaped_as: Sequence[Tensor]
    """Tensors in whose form each needed rank hands in its values, for all ranks alike."""
    outputs: Sequence[Tensor]
    """What the call writes here."""
    combine: Combine
    needed: Sequence[int] | None = None
    """Places in the group whose values matter; None for all."""


@dataclass(kw_only=True, slots=True)
class Collectives:
    """Follows the values of collectives."""

    known: KnownStorages
    log: ReadLog
    exchange: Exchange = field(default_factory=Exchange)

    def follow(self, name: str, args: Sequence[Any], result: object) -> None:
        """Give the outputs of a collective that has just been called their values, or forget them."""
        call = _call(name, args, result)
        if call is None:
            self._forget(tree_leaves((args, result)))
        elif call.inputs or call.outputs or call.shaped_as:
            self._settle(call)
        else:
            self.exchange.hear(call.group, self.exchange.voices(call.group), UNKNOWN)  # a barrier

    def _settle(self, call: Call) -> None:
        if not self.exchange.present and not any(tensor.is_cuda for tensor in (*call.inputs, *call.outputs)):
            return  # a backend of the host has done it for real
        if not _small(call.shaped_as):
            self._forget(call.outputs)
            return
        voices = self.exchange.voices(call.group)
        heard = self.exchange.hear(call.group, voices, self._message(call.inputs))
        needed = range(len(voices)) if call.needed is None else call.needed
        if any(heard[voices[place]] == UNKNOWN for place in needed):
            self._forget(call.outputs)
            return
        values = {place: _values(heard[voices[place]], call.shaped_as) for place in needed}
        own_place = call.group.rank()
        self._write(call.outputs, call.combine(values, own_place))
        ranks = get_process_group_ranks(call.group)
        if any(voices[place] != ranks[place] for place in needed):
            self.log.note_assumed()

    def _message(self, inputs: Sequence[Tensor]) -> bytes:
        """Return the values of `inputs`, or that they are not known, or that this rank hands in none."""
        if not inputs or not all(not tensor.is_cuda or self.known.holds(tensor) for tensor in inputs):
            return UNKNOWN
        return KNOWN + b"".join(_bytes(on_host(tensor) if tensor.is_cuda else tensor) for tensor in inputs)

    def _write(self, outputs: Sequence[Tensor], values: Values) -> None:
        written: dict[int, int] = {}
        for output, value in zip(outputs, values, strict=True):
            if not output.is_cuda:
                output.copy_(value)
            elif output.is_contiguous():
                write_dense(output, value)
                storage = output.untyped_storage()._cdata
                written[storage] = written.get(storage, 0) + output.nbytes
        for output in outputs:
            # Other parts of the storage must be known too: by themselves, or as outputs of the same call.
            storage = output.untyped_storage()
            if output.is_cuda and written.get(storage._cdata, 0) >= storage.nbytes():
                self.known.add(output)

    def _forget(self, leaves: Sequence[object]) -> None:
        for leaf in leaves:
            if isinstance(leaf, Tensor) and leaf.is_cuda:
                self.known.forget(leaf)


def _small(tensors: Sequence[Tensor]) -> bool:
    size_bytes = sum(tensor.nbytes for tensor in tensors)
    real = any(tensor.is_floating_point() or tensor.is_complex() for tensor in tensors)
    return size_bytes <= (REAL_NUMBERS_BYTES if real else WHOLE_NUMBERS_BYTES)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def _values(message: bytes, shaped_as: Sequence[Tensor]) -> Values:
    """Return the tensors in a message."""
    values, at = [], len(KNOWN)
    for like in shaped_as:
        value = torch.empty(like.shape, dtype=like.dtype)
        if like.nbytes:
            value.view(-1).view(torch.uint8).copy_(
                torch.frombuffer(bytearray(message[at : at + like.nbytes]), dtype=torch.uint8)
            )
        values.append(value)
        at += like.nbytes
    return values


# ---- the calls ----


def _group(group: Any) -> ProcessGroup:
    """Return the process group that an operator was given: an object of C++, its name, or itself."""
    if isinstance(group, str):
        return _resolve_process_group(cast("GroupName", group))
    return group if isinstance(group, ProcessGroup) else ProcessGroup.unbox(group)


def _own_of_each(values: Mapping[int, Values], _own: int) -> Values:
    """All ranks' values, one tensor for each."""
    return [tensor for place in sorted(values) for tensor in values[place]]


def _joined(values: Mapping[int, Values], _own: int) -> Values:
    """All ranks' values in one tensor."""
    return [torch.cat([values[place][0].reshape(-1) for place in sorted(values)])]


def _exchanged(values: Mapping[int, Values], own: int) -> Values:
    """The part for this rank of every rank's values, in one tensor."""
    size = len(values)
    return [torch.cat([values[place][0].reshape(-1).chunk(size)[own] for place in sorted(values)])]


def _from_root(root: int) -> Combine:
    return lambda values, _own: values[root]


def _part_from_root(root: int) -> Combine:
    return lambda values, own: [values[root][own]]


def _reduced(operation: str) -> Combine | None:
    """Return the reduction that NCCL or torch calls by this name; None for one that is not followed."""
    whole = {
        "SUM": lambda stacked: stacked.any(0) if stacked.dtype == torch.bool else stacked.sum(0, dtype=stacked.dtype),
        "AVG": lambda stacked: (stacked.sum(0) / len(stacked)).to(stacked.dtype),
        "PRODUCT": lambda stacked: stacked.prod(0, dtype=stacked.dtype),
        "MIN": lambda stacked: stacked.amin(0),
        "MAX": lambda stacked: stacked.amax(0),
        "BAND": lambda stacked: reduce(operator.and_, stacked),
        "BOR": lambda stacked: reduce(operator.or_, stacked),
        "BXOR": lambda stacked: reduce(operator.xor, stacked),
    }.get(operation.upper())
    if whole is None:
        return None
    return lambda values, _own: [whole(torch.stack(of_ranks)) for of_ranks in zip(*values.values(), strict=True)]


def _operation_name(operation: Any) -> str:
    """Return the name of a reduction, which an operator is given as an object of C++ or as text.

    Empty if torch tells nobody: an object of C++ has had the method that says it since a release after 2.2.
    """
    if isinstance(operation, str):
        return operation
    if not hasattr(operation, "op"):
        return ""
    number = operation.op()
    return next(name for name, member in ReduceOp.RedOpType.__members__.items() if member.value == number)


def _reduction(group: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor], operation: Any) -> Call | None:
    combine = _reduced(_operation_name(operation))
    if combine is None:
        return None
    return Call(group=_group(group), inputs=inputs, shaped_as=inputs, outputs=outputs, combine=combine)


def _reduce(args: Sequence[Any], _result: Any) -> Call | None:
    tensors, group, operation, root = args[:4]
    call = _reduction(group, tensors, tensors, operation)
    return call if call is None or call.group.rank() == root else replace(call, outputs=[], combine=lambda *_: [])


def _broadcast(group: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor], root: int) -> Call:
    return Call(group=_group(group), inputs=inputs, shaped_as=inputs, outputs=outputs, combine=_from_root(root), needed=(root,))


def _gathered(group: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor], combine: Combine = _own_of_each) -> Call:
    return Call(group=_group(group), inputs=inputs, shaped_as=inputs, outputs=outputs, combine=combine)


def _gather(args: Sequence[Any], _result: Any) -> Call:
    outputs, inputs, group, root = args[:4]
    call = _gathered(group, inputs, outputs[0] if outputs else [])
    return call if call.group.rank() == root else replace(call, outputs=[], combine=lambda *_: [])


def _scatter(args: Sequence[Any], _result: Any) -> Call:
    outputs, inputs, of_group, root = args[:4]
    group = _group(of_group)
    return Call(
        group=group,
        inputs=inputs[0] if inputs else [],
        shaped_as=[outputs[0]] * group.size(),
        outputs=outputs,
        combine=_part_from_root(root),
        needed=(root,),
    )


def _all_to_all(group: Any, taken: Tensor, given: Tensor, splits: Sequence[Sequence[int]]) -> Call | None:
    if any(len(set(sizes)) > 1 for sizes in splits):
        return None
    return _gathered(group, [taken], [given], _exchanged)


_READERS: Final[Mapping[str, Callable[[Sequence[Any], Any], Call | None]]] = {
    "c10d::allreduce_": lambda args, _: _reduction(args[1], args[0], args[0], args[2]),
    "c10d::reduce_": _reduce,
    "c10d::broadcast_": lambda args, _: _broadcast(args[1], args[0], args[0], args[2]),
    "c10d::allgather_": lambda args, _: _gathered(args[2], args[1], args[0][0]),
    "c10d::_allgather_base_": lambda args, _: _gathered(args[2], [args[1]], [args[0]], _joined),
    "c10d::gather_": _gather,
    "c10d::scatter_": _scatter,
    "c10d::alltoall_base_": lambda args, _: _all_to_all(args[2], args[1], args[0], args[3:5]),
    "c10d::barrier": lambda args, _: Call(group=_group(args[1]), inputs=(), shaped_as=(), outputs=(), combine=_own_of_each),
    "_c10d_functional::all_reduce": lambda args, result: _reduction(args[2], [args[0]], [result], args[1]),
    "_c10d_functional::all_reduce_": lambda args, _: _reduction(args[2], [args[0]], [args[0]], args[1]),
    "_c10d_functional::broadcast": lambda args, result: _broadcast(args[2], [args[0]], [result], args[1]),
    "_c10d_functional::broadcast_": lambda args, _: _broadcast(args[2], [args[0]], [args[0]], args[1]),
    "_c10d_functional::all_gather_into_tensor": lambda args, result: _gathered(args[2], [args[0]], [result], _joined),
    "_c10d_functional::all_gather_into_tensor_out": lambda args, result: _gathered(args[2], [args[0]], [result], _joined),
    "_c10d_functional::all_to_all_single": lambda args, result: _all_to_all(args[3], args[0], result, args[1:3]),
}
"""By operator of torch: how its arguments, and what it returned, say what it does. Source: their schemas in torch 2.14."""


def _call(name: str, args: Sequence[Any], result: Any) -> Call | None:
    """Return what an operator does to values; None if that is not followed."""
    read = _READERS.get(name)
    return read(args, result) if read is not None else None
