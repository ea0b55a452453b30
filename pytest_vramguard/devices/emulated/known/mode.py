"""The dispatch mode that keeps small known values real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from pytest_vramguard.devices.emulated.known.accumulation import is_accumulation
from pytest_vramguard.devices.emulated.known.assumed import answer_if_finite, balanced_choice, is_choice_of_experts
from pytest_vramguard.devices.emulated.known.circumstances import capturing, fake_mode
from pytest_vramguard.devices.emulated.known.on_cpu import computed_on_cpu
from pytest_vramguard.devices.emulated.known.operands import (
    Arguments,
    Keywords,
    all_on_host,
    covers_storage,
    is_mask,
    tensors_in,
    written_by,
    zeros_on_host,
)
from pytest_vramguard.devices.emulated.known.plans import FILLED, Kind, Plan, plan_of
from pytest_vramguard.devices.emulated.known.reads import ReadLog
from pytest_vramguard.devices.emulated.known.storages import KnownStorages, is_small, on_host, write_storage, write_values
from pytest_vramguard.devices.emulated.libraries import REAL_COPY_BYTES, note_read

if TYPE_CHECKING:
    from pytest_vramguard.devices.emulated.known.collectives import Collectives

Handler: TypeAlias = Callable[[OpOverload, Plan, Arguments, Keywords], Any]

COUNT_BYTES = 8
"""Of the count that shapes a result and is copied to the host. Source: torch, aten/src/ATen/native/cuda/Nonzero.cu."""
ADD, ADD_IN_PLACE = torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor
ON_CARD = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)


class KnownValues(TorchDispatchMode):
    """While it is active, small tensors that follow from host values hold their true values on the emulated card.

    Sees every operator below autograd. Most have a large input, which is known to be unknown at the first look; these run as
    they are. The others run as they are too, so that every allocation is real, and again on the CPU for their values.
    """

    @classmethod
    def is_infra_mode(cls) -> bool:
        """Tell torch.compile that this mode is no reason to leave a frame uncompiled."""
        return True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Tell torch not to guard `__torch_dispatch__` against being compiled, which costs more than the call itself."""
        return False

    def __init__(self) -> None:
        """Start with nothing known on the card."""
        super().__init__()  # type: ignore[no-untyped-call] # torch leaves it untyped
        self.known = KnownStorages()
        self.log = ReadLog()
        self.flops: int | None = None
        """Floating-point operations since somebody set it to 0; None while they are not counted."""
        self._present_ranks: tuple[int, ...] | None = None
        self._collectives: Collectives | None = None
        self._handlers: dict[Kind, Handler] = {
            Kind.PURE: self._pure,
            Kind.FILLED: self._filled,
            Kind.ADDED: self._added,
            Kind.COMPARED: self._compared,
            Kind.TRUTH: self._truth,
            Kind.CHOSEN: self._chosen,
            Kind.MUTATING: self._mutating,
            Kind.CREATION: self._with_values,
            Kind.OPAQUE: self._unknown,
            Kind.BLANK: self._unknown,
            Kind.LIFTED: self._lifted,
            Kind.READ: self._read,
            Kind.CHECKED: self._checked,
            Kind.CHECKING: self._checking,
            Kind.SHAPED: self._shaped,
            Kind.INDEXED: self._indexed,
            Kind.MASKED_SCATTER_BACKWARD: self._masked_scatter_backward,
            Kind.COLLECTIVE: self._collective,
        }

    def run_alone(self, present_ranks: tuple[int, ...]) -> None:
        """Let `present_ranks` speak for those that are not run, in the process groups that are made from now on."""
        self._present_ranks, self._collectives = present_ranks, None

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Arguments = (), kwargs: Keywords | None = None) -> Any:
        """Run one operator."""
        if types and any(hasattr(kind, "__tensor_flatten__") for kind in types):
            return NotImplemented  # a tensor made of others (DTensor): it runs first, and its parts come by here
        plan = plan_of(func)
        if plan.indifferent or fake_mode() is not None:  # DTensor and torch.compile ask what a result would be like
            return func(*args, **kwargs) if kwargs else func(*args)
        if plan.kind is not Kind.PURE and capturing():
            return self._unknown(func, plan, args, kwargs or {})
        result = self._handlers[plan.kind](func, plan, args, kwargs or {})
        if plan.formula is not None and self.flops is not None:
            self.flops += plan.formula(args, result)
        return result

    def _all_known(self, tensors: Iterator[Tensor]) -> bool:
        """Return whether every tensor among them is known: it is on the host, or noted."""
        return all(not tensor.is_cuda or self.known.holds(tensor) for tensor in tensors)

    def _pure(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        first = args[0] if args else None  # by far most operators of a step have an unknown first argument
        if (isinstance(first, Tensor) and first.is_cuda and not self.known.holds(first)) or not self._all_known(
            tensors_in(args, kwargs)
        ):
            result = func(*args, **kwargs)
            if plan.name == "aten::_to_copy" and args[0].is_cuda and not result.is_cuda:
                self._note_host_copy(result)
            return result
        return self._with_values(func, plan, args, kwargs)

    def _with_values(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run an operator whose inputs are known, and give its results their values if they are small.

        A copy to the host is made of the known bytes: one that casts or gathers would begin with a kernel on the card.
        """
        result = func(*args, **kwargs)
        if plan.name == "aten::_to_copy" and args[0].is_cuda and not result.is_cuda:
            return func(*all_on_host(args), **kwargs)
        return result if capturing() else self._valued(result, func, args, kwargs)

    def _valued(self, result: Any, func: OpOverload, args: Arguments, kwargs: Keywords) -> Any:
        """Return the result of an operator whose inputs are known, with its values if it is small."""
        fresh = [tensor for tensor in tensors_in((result,)) if tensor.is_cuda]
        if fresh and all(is_small(tensor) for tensor in fresh):
            for tensor, values in self._computed(func, args, kwargs, fresh):
                write_values(tensor, values)
                self.known.add(tensor)
        return result

    def _computed(
        self, func: OpOverload, args: Arguments, kwargs: Keywords, fresh: list[Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the fresh tensors with their values from the CPU, without those that the CPU cannot say.

        A few operators pass results between their halves in a form of their own for each kind of device.
        """
        try:
            computed = computed_on_cpu(func, all_on_host(args), all_on_host(kwargs))
        except RuntimeError:
            return []
        pairs = zip(fresh, tensors_in((computed,)), strict=False)
        return [(tensor, values) for tensor, values in pairs if tensor.shape == values.shape]

    def _give(self, fresh: Tensor, values: Callable[[], Tensor]) -> None:
        """Give a fresh tensor the values that `values` makes on the CPU, if it is small."""
        if fresh.is_cuda and is_small(fresh):
            write_values(fresh, values())
            self.known.add(fresh)

    def _added(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run a sum; one of gradients in place, as where no mode is active."""
        if func is ADD and not kwargs and is_accumulation(args[0]):
            return self._mutating(ADD_IN_PLACE, plan_of(ADD_IN_PLACE), args, kwargs)
        return self._pure(func, plan, args, kwargs)

    def _filled(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run an operator that takes the shape of a tensor, and fills with the number in its name or in its last argument."""
        result = func(*args, **kwargs)
        number = FILLED[plan.name]
        fill: Any = kwargs.get("fill_value", args[-1]) if number is None else number
        self._give(result, lambda: torch.full(result.shape, fill))
        return result

    def _compared(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run a comparison; numbers that nobody computed are taken to be finite."""
        answer = answer_if_finite(plan.name, args)
        if answer is None or self._all_known(tensors_in(args, kwargs)):
            return self._pure(func, plan, args, kwargs)
        return self._answered(func, args, kwargs, answer=answer)

    def _truth(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run an operator that may be one of truth values; where they are the same everywhere, so is its answer."""
        answer = self.known.truths.answer(plan.name, tensors_in(args)) if args[0].dtype is torch.bool else None
        return self._pure(func, plan, args, kwargs) if answer is None else self._answered(func, args, kwargs, answer=answer)

    def _answered(self, func: OpOverload, args: Arguments, kwargs: Keywords, *, answer: bool) -> Any:
        """Run an operator of which each truth value is `answer`."""
        result = func(*args, **kwargs)
        if is_small(result):
            self._give(result, lambda: torch.full(result.shape, answer))
        elif result.is_cuda:
            self.known.truths.note(result, truth=answer)
        return result

    def _chosen(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run a `topk`; where nobody computed the scores and it looks like a router's, its choice is balanced, and reported."""
        if self._all_known(tensors_in(args, kwargs)):
            return self._with_values(func, plan, args, kwargs)
        result = func(*args, **kwargs)
        if is_choice_of_experts(args[0], result[1]):
            self._give(result[1], lambda: balanced_choice(args[0], result[1]))
            self.log.note_balanced()
        return result

    def _mutating(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        targets = list(written_by(plan, args, kwargs))
        if not any(target.is_cuda for target in targets):
            return self._into_host(func, plan, args, kwargs, targets)
        inputs = tensors_in(args[1:], kwargs) if plan.overwrites and covers_storage(targets[0]) else tensors_in(args, kwargs)
        if not (all(is_small(target) for target in targets) and self._all_known(inputs)):
            return self._unknown(func, plan, args, kwargs)
        on_cpu_args, on_cpu_kwargs = all_on_host(args), all_on_host(kwargs)
        try:
            func(*on_cpu_args, **on_cpu_kwargs)
        except RuntimeError:  # not an operator of the CPU
            return self._unknown(func, plan, args, kwargs)
        result = func(*args, **kwargs)
        for target, values in zip(targets, written_by(plan, on_cpu_args, on_cpu_kwargs), strict=True):
            if target.is_cuda:
                write_storage(target, values)
                self.known.add(target)
        return result

    def _into_host(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords, targets: list[Tensor]) -> Any:
        """Run an operator that writes to the host; a copy of unknown values from the card writes zeros there."""
        result = func(*args, **kwargs)
        if plan.name == "aten::copy_" and args[1].is_cuda:
            if self._all_known(tensors_in(args[1:2])):
                return func(*all_on_host(args), **kwargs)
            self._note_host_copy(targets[0])
        return result

    def _note_host_copy(self, copied: Tensor) -> None:
        """Count a host copy of unknown values and make it zero; the card has given no bytes for a large one, so that it is."""
        self.log.note_read(copied)
        if copied.numel() * copied.element_size() <= REAL_COPY_BYTES:
            copied.zero_()

    def _unknown(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run an operator whose results are not known, and forget what it writes to."""
        for target in written_by(plan, args, kwargs):
            if target.is_cuda:
                self.known.forget(target)
        return func(*args, **kwargs)

    def _lifted(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Tensor:
        """Note a tensor made of Python data, as by `torch.tensor([1], device="cuda")`, whose copy is not dispatched."""
        lifted: Tensor = func(*args, **kwargs)
        if lifted.is_cuda and lifted.untyped_storage().nbytes() <= REAL_COPY_BYTES and is_small(lifted):
            self.known.add(lifted)
        return lifted

    def _read(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        if args[0].is_cuda:
            note_read(args[0].element_size() if plan.name == "aten::_local_scalar_dense" else 1)  # else it is a truth value
        if self._all_known(tensors_in(args, kwargs)):
            return func(*all_on_host(args), **all_on_host(kwargs))
        self.log.note_read(*tensors_in(args))
        return func(*(torch.zeros((), dtype=tensor.dtype) for tensor in tensors_in(args)))

    def _checked(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> None:
        """Check known fault numbers; those that nobody computed are read as 0, which says that the solver succeeded."""
        if args[0].is_cuda:
            note_read(args[0].element_size())
        if self._all_known(tensors_in(args, kwargs)):
            func(*all_on_host(args), **all_on_host(kwargs))
        else:
            self.log.note_read(*tensors_in(args, kwargs))

    def _checking(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run the card's own part of an operator with this mode inside it, which sees what is read there."""
        if not any(tensor.is_cuda for tensor in tensors_in(args, kwargs)):
            return func(*args, **kwargs)
        known = self._all_known(tensors_in(args, kwargs))
        with self:
            result = func.redispatch(ON_CARD, *args, **kwargs)
        return self._valued(result, func, args, kwargs) if known else result

    def _shaped(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run an operator whose result's shape depends on values, on the host, and put the result on the card.

        On a card the host waits for the number that shapes the result.
        """
        tensors = list(tensors_in(args, kwargs))
        if not any(tensor.is_cuda for tensor in tensors):
            return func(*args, **kwargs)
        if plan.name == "aten::masked_select" and self._all_known(iter(tensors[1:])):
            selected_from, mask = torch.broadcast_tensors(*tensors)
            return self._at_positions(torch.ops.aten.index.Tensor, (selected_from, [mask]), {})
        if not self._all_known(iter(tensors)):
            self.log.note_shape(plan.name)
            args, kwargs = tree_map_only(Tensor, zeros_on_host, (args, kwargs))
        note_read(COUNT_BYTES)
        computed = func(*all_on_host(args), **all_on_host(kwargs))
        return tree_map_only(Tensor, self._placed, computed)

    def _placed(self, values: Tensor) -> Tensor:
        """Return a known tensor on the card with the values of a CPU tensor."""
        placed = torch.empty_like(values, device="cuda")
        if is_small(placed):
            write_values(placed, values)
            self.known.add(placed)
        return placed

    def _indexed(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Index with a mask whose true values are counted for real."""
        if not any(is_mask(index) for index in args[1]):
            return self._pure(func, plan, args, kwargs) if not plan.written else self._mutating(func, plan, args, kwargs)
        return self._at_positions(func, args, kwargs)

    def _at_positions(self, func: OpOverload, args: Arguments, kwargs: Keywords) -> Any:
        """Run an indexing operator with the true positions of each mask in its place."""
        indices: list[Tensor | None] = []
        for index in args[1]:
            indices.extend(self._positions(index) if is_mask(index) else [index])
        return self.__torch_dispatch__(func, (), (args[0], indices, *args[2:]), kwargs)

    def _positions(self, mask: Tensor) -> list[Tensor]:
        """Return where a mask is true, an index for each of its dimensions; nowhere, and reported, if that is not known."""
        note_read(COUNT_BYTES)
        if self._all_known(iter((mask,))):
            values = on_host(mask) if mask.is_cuda else mask
        else:
            self.log.note_shape("indexing with a mask")
            values = torch.zeros(mask.shape, dtype=torch.bool)
        return [self._placed(position) for position in values.nonzero().unbind(1)]

    def _masked_scatter_backward(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Tensor:
        """As torch has it, but with a counted mask. Source: torch, aten/src/ATen/native/TensorAdvancedIndexing.cpp."""
        grad, mask, sizes = args
        selected: Tensor = self.__torch_dispatch__(torch.ops.aten.masked_select.default, (), (grad, mask))
        missing = torch.Size(sizes).numel() - selected.numel()
        if missing > 0:
            selected = torch.cat([selected, torch.zeros(missing, dtype=grad.dtype, device=grad.device)])
        return selected.view(sizes)

    def _collective(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run a collective; what it leaves in small tensors the ranks tell each other."""
        result = func(*args, **kwargs)
        if self._collectives is None:  # torch.distributed is in use by now: importing it costs nothing more
            from pytest_vramguard.devices.emulated.known.collectives import Collectives
            from pytest_vramguard.devices.emulated.known.exchange import Exchange

            self._collectives = Collectives(known=self.known, log=self.log, exchange=Exchange(present=self._present_ranks))
        self._collectives.follow(plan.name, args, result)
        return result
