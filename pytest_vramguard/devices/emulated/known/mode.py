"""The dispatch mode that keeps small known values real."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from pytest_vramguard.devices.emulated.known.accumulation import is_accumulation
from pytest_vramguard.devices.emulated.known.assumed import answer_if_finite, balanced_choice, is_choice_of_experts
from pytest_vramguard.devices.emulated.known.circumstances import capturing, fake_mode, on_card
from pytest_vramguard.devices.emulated.known.on_cpu import computed_on_cpu
from pytest_vramguard.devices.emulated.known.operands import (
    Arguments,
    Keywords,
    all_on_host,
    covers_storage,
    is_mask,
    read_by,
    tensors_in,
    written_by,
)
from pytest_vramguard.devices.emulated.known.plans import FILLED, Kind, Plan, plan_of
from pytest_vramguard.devices.emulated.known.reads import ReadLog
from pytest_vramguard.devices.emulated.known.shapes import ShapedByValues
from pytest_vramguard.devices.emulated.known.sparse import SparseOperators, is_about_sparse
from pytest_vramguard.devices.emulated.known.storages import KnownStorages, is_dense, is_small, write_storage, write_values
from pytest_vramguard.devices.emulated.known.untouched import converted
from pytest_vramguard.devices.emulated.libraries import REAL_COPY_BYTES, note_read

if TYPE_CHECKING:
    from pytest_vramguard.devices.emulated.known.collectives import Collectives

Handler: TypeAlias = Callable[[OpOverload, Plan, Arguments, Keywords], Any]

IN_CAPTURES = (Kind.PURE, Kind.CONVERTED)
"""What is looked at while a graph is captured too, since a copy to the host is a read there as well."""
ADD, ADD_IN_PLACE = torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor


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
        self._sparse = SparseOperators(known=self.known, log=self.log, mode=self)
        self._shapes = shapes = ShapedByValues(known=self.known, log=self.log, dispatch=self.__torch_dispatch__)
        self._handlers: dict[Kind, Handler] = {
            Kind.PURE: self._pure,
            Kind.FILLED: self._filled,
            Kind.ADDED: self._added,
            Kind.CONVERTED: self._converted,
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
            Kind.SHAPED: shapes.shaped,
            Kind.SPARSE: self._sparse.begin,
            Kind.COALESCED: self._sparse.begin,
            Kind.INDEXED: self._indexed,
            Kind.MASKED_SCATTER_BACKWARD: shapes.masked_scatter_backward,
            Kind.COLLECTIVE: self._collective,
            Kind.COMPOSITE: self._composite,
        }

    def run_alone(self, present_ranks: tuple[int, ...]) -> None:
        """Let `present_ranks` speak for those that are not run, in the process groups that are made from now on."""
        self._present_ranks, self._collectives = present_ranks, None

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Arguments = (), kwargs: Keywords | None = None) -> Any:
        """Run one operator."""
        if types and any(hasattr(kind, "__tensor_flatten__") for kind in types):
            return NotImplemented  # a tensor made of others (DTensor): it runs first, and its parts come by here
        plan = plan_of(func)
        sparse = self._sparse.seen and is_about_sparse(args, kwargs or {})
        if (plan.indifferent and not sparse) or fake_mode() is not None:  # DTensor and torch.compile ask what would result
            return func(*args, **kwargs) if kwargs else func(*args)
        if plan.kind not in IN_CAPTURES and capturing():
            return self._unknown(func, plan, args, kwargs or {})
        handler = self._sparse.run if sparse else self._handlers[plan.kind]
        result = handler(func, plan, args, kwargs or {})
        if plan.formula is not None and self.flops is not None:
            self.flops += plan.formula(args, result)
        return result

    def _pure(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        first = args[0] if args else None  # by far most operators of a step have an unknown first argument
        if (isinstance(first, Tensor) and first.is_cuda and not self.known.holds(first)) or not self.known.holds_all(
            tensors_in(args, kwargs)
        ):
            return func(*args, **kwargs)
        return self._with_values(func, plan, args, kwargs)

    def _converted(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run a copy to another type or device.

        One of known bytes to the host is made of these: one that casts or gathers would begin with a kernel on the card.
        """
        if not is_dense(args[0]):
            return self._sparse.begin(func, plan, args, kwargs)
        if not args[0].is_cuda:
            zeros = converted(args[0], kwargs)
            return self._with_values(func, plan, args, kwargs) if zeros is None else zeros
        if capturing() or not self.known.holds(args[0]):
            result = func(*args, **kwargs)
            if not result.is_cuda:
                self._note_host_copy(result)
            return result
        result = self._with_values(func, plan, args, kwargs)
        return result if result.is_cuda else func(*all_on_host(args), **kwargs)

    def _with_values(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run an operator whose inputs are known, and give its results their values if they are small."""
        result = func(*args, **kwargs)
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
        self._give(result, lambda: torch.full(result.shape, fill, dtype=result.dtype))
        return result

    def _compared(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run a comparison; numbers that nobody computed are taken to be finite."""
        answer = answer_if_finite(plan.name, args)
        if answer is None or self.known.holds_all(tensors_in(args, kwargs)):
            return self._pure(func, plan, args, kwargs)
        return self._answered(func, args, kwargs, answer=answer)

    def _truth(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run an operator that may be one of truth values; where they are the same everywhere, so is its answer."""
        answer = self.known.truths.answer(plan.name, tensors_in(args)) if args[0].dtype is torch.bool else None
        return self._pure(func, plan, args, kwargs) if answer is None else self._answered(func, args, kwargs, answer=answer)

    def _answered(self, func: OpOverload, args: Arguments, kwargs: Keywords, *, answer: bool) -> Any:
        """Run an operator of which each truth value is `answer`; where its result is of numbers, that says nothing."""
        result = func(*args, **kwargs)
        if result.dtype is torch.bool and is_small(result):
            self._give(result, lambda: torch.full(result.shape, answer))
        elif result.dtype is torch.bool and result.is_cuda:
            self.known.truths.note(result, truth=answer)
        return result

    def _chosen(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run a `topk`; where nobody computed the scores and it looks like a router's, its choice is balanced, and reported."""
        if self.known.holds_all(tensors_in(args, kwargs)):
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
        overwritten = plan.overwrites and all(map(covers_storage, targets))
        inputs = read_by(plan, args, kwargs) if overwritten else tensors_in(args, kwargs)
        if not (all(is_small(target) for target in targets) and self.known.holds_all(inputs)):
            return self._unknown(func, plan, args, kwargs)
        on_cpu_args, on_cpu_kwargs = all_on_host(args), all_on_host(kwargs)
        try:
            func(*on_cpu_args, **on_cpu_kwargs)
        except RuntimeError:  # not an operator of the CPU
            return self._unknown(func, plan, args, kwargs)
        result = func(*args, **kwargs)
        for target, values in zip(targets, written_by(plan, on_cpu_args, on_cpu_kwargs), strict=True):
            if target.is_cuda and is_small(target):
                write_storage(target, values)
                self.known.add(target)
            elif target.is_cuda:  # it was empty, and has grown
                self.known.forget(target)
        return result

    def _into_host(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords, targets: list[Tensor]) -> Any:
        """Run an operator that writes to the host; a copy of unknown values from the card writes zeros there."""
        result = func(*args, **kwargs)
        if plan.name == "aten::copy_" and args[1].is_cuda:
            if self.known.holds_all(tensors_in(args[1:2])):
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
        if self.known.holds_all(tensors_in(args, kwargs)):
            return func(*all_on_host(args), **all_on_host(kwargs))
        self.log.note_read(*tensors_in(args))
        return func(*(torch.zeros((), dtype=tensor.dtype) for tensor in tensors_in(args)))

    def _checked(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> None:
        """Check known fault numbers; those that nobody computed are read as 0, which says that the solver succeeded."""
        if args[0].is_cuda:
            note_read(args[0].element_size())
        if self.known.holds_all(tensors_in(args, kwargs)):
            func(*all_on_host(args), **all_on_host(kwargs))
        else:
            self.log.note_read(*tensors_in(args, kwargs))

    def _checking(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run the card's own part of an operator with this mode inside it, which sees what is read there."""
        if not any(tensor.is_cuda for tensor in tensors_in(args, kwargs)):
            return func(*args, **kwargs)
        known = self.known.holds_all(tensors_in(args, kwargs))
        with self:
            result = on_card(func, *args, **kwargs)
        return self._valued(result, func, args, kwargs) if known else result

    def _composite(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Take an operator apart with this mode inside it, which sees what it is made of."""
        with self:
            return func.decompose(*args, **kwargs)

    def _indexed(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Index with numbers as any operator, with a mask as one that values shape."""
        if any(is_mask(index) for index in args[1]):
            return self._shapes.at_positions(func, args, kwargs)
        return self._mutating(func, plan, args, kwargs) if plan.written else self._pure(func, plan, args, kwargs)

    def _collective(self, func: OpOverload, plan: Plan, args: Arguments, kwargs: Keywords) -> Any:
        """Run a collective; what it leaves in small tensors the ranks tell each other."""
        result = func(*args, **kwargs)
        if self._collectives is None:  # torch.distributed is in use by now: importing it costs nothing more
            from pytest_vramguard.devices.emulated.known.collectives import Collectives
            from pytest_vramguard.devices.emulated.known.exchange import Exchange

            self._collectives = Collectives(known=self.known, log=self.log, exchange=Exchange(present=self._present_ranks))
        self._collectives.follow(plan.name, args, result)
        return result
