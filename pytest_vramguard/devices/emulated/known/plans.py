"""What kind of operation an operator of torch is, worked out once from its schema."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

import torch

from pytest_vramguard.devices.emulated.known.flops import FORMULAS, Formula
from pytest_vramguard.devices.emulated.known.truths import TOLD_BY_TRUTHS

if TYPE_CHECKING:
    from torch._ops import OpOverload

READS: Final = ("aten::_local_scalar_dense", "aten::equal")
"""Operators that answer with a value of the host."""
OVERWRITES: Final = ("aten::copy_", "aten::fill_", "aten::zero_")
"""Operators after which the former values of their target do not matter."""
SHAPED_BY_VALUES: Final = (
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::unique_consecutive",
    "aten::unique_dim_consecutive",
    "aten::repeat_interleave",
    "aten::bincount",
    "aten::linalg_eig",
    "aten::linalg_eigvals",
    "aten::linalg_matrix_exp",
)
"""Operators whose result has a shape that values decide, and those of linear algebra that branch on values inside.

Source: torch's tag `dynamic_output_shape`, without `item`; aten/src/ATen/native, BatchLinearAlgebra.cpp and LinearAlgebra.cpp.
"""
INDEXED: Final = (
    "aten::index",
    "aten::index_put",
    "aten::index_put_",
    "aten::_index_put_impl_",
    "aten::_unsafe_index",
    "aten::_unsafe_index_put",
)
"""Operators that count the true values of a mask among their indices."""
CHECKING: Final = (
    "aten::_linalg_eigh",
    "aten::_linalg_solve_ex",
    "aten::_linalg_svd",
    "aten::cholesky",
    "aten::linalg_cholesky_ex",
    "aten::linalg_inv_ex",
    "aten::linalg_ldl_factor_ex",
    "aten::linalg_lu_factor_ex",
    "aten::linalg_pinv",
)
"""Operators that look at the fault numbers of their solver inside, or in an operator that they are made of.

Source: torch, aten/src/ATen/native/BatchLinearAlgebra.cpp and LinearAlgebra.cpp, callers of `_linalg_check_errors`.
"""
MAKING_SPARSE: Final = (
    "aten::_to_sparse",
    "aten::_to_sparse_csr",
    "aten::_to_sparse_csc",
    "aten::_to_sparse_bsr",
    "aten::_to_sparse_bsc",
    "aten::sparse_mask",
)
"""Operators that make a dense tensor sparse, and count inside how many entries that has. `sparse_mask` is told where they are.

Source: torch, aten/src/ATen/native/TensorConversions.cpp and sparse/SparseTensor.cpp, callers of `nonzero` and `coalesce`.
"""
FILLED: Final = {
    "aten::zeros_like": 0,
    "aten::ones_like": 1,
    "aten::full_like": None,
    "aten::new_zeros": 0,
    "aten::new_ones": 1,
    "aten::new_full": None,
}
"""Operators that take from a tensor its shape and type alone, and what they fill with; None: with their last argument."""
TOLD_BY_FINITENESS: Final = ("aten::isnan", "aten::isinf", "aten::eq", "aten::ne")
"""Operators whose answer may be the same for all finite numbers."""


COLLECTIVES: Final = ("c10d::", "_c10d_functional::")
"""Where torch keeps the operators of its process groups."""
NO_COLLECTIVES: Final = ("c10d::check_for_nan", "_c10d_functional::wait_tensor", "_c10d_functional::_wrap_tensor_autograd")
"""Operators among them that only look at a tensor, or pass it on."""


class Kind(Enum):
    """How the values of an operator's results come about."""

    VIEW = "view"
    """Same storage, so as known as before."""
    BLANK = "blank"
    """Fresh memory or random numbers: never known."""
    CREATION = "creation"
    """From its arguments alone, without any tensor."""
    FILLED = "filled"
    """A number everywhere, in the shape of a tensor whose own values do not matter."""
    COMPARED = "compared"
    """Perhaps the same for all finite numbers, else as a pure one."""
    TRUTH = "truth"
    """From truth values perhaps, of which large tensors are known too where they are all the same; else as a pure one."""
    CHOSEN = "chosen"
    """The largest of some, which may be a router's choice of experts."""
    ADDED = "added"
    """As a pure one, unless it is a sum of gradients."""
    CONVERTED = "converted"
    """As a pure one, to another type or device."""
    PURE = "pure"
    """From its inputs, into fresh storages."""
    MUTATING = "mutating"
    """From its inputs, into some of them."""
    OPAQUE = "opaque"
    """Somebody else's operator: only what it writes to is known."""
    LIFTED = "lifted"
    """From the data of a Python object, copied to the card before anybody could look."""
    READ = "read"
    CHECKED = "checked"
    """Fault numbers that a solver left on the card, and an error if one is set."""
    CHECKING = "checking"
    """From its inputs as a pure one, and it reads fault numbers inside."""
    SHAPED = "shaped"
    SPARSE = "sparse"
    """It makes a sparse tensor, or is one of the operators that are there for them alone."""
    COALESCED = "coalesced"
    """A sparse tensor whose entries of one place are added up."""
    INDEXED = "indexed"
    MASKED_SCATTER_BACKWARD = "masked_scatter_backward"
    COLLECTIVE = "collective"
    """From the inputs of several processes."""
    COMPOSITE = "composite"
    """By other operators. Autograd takes it apart before anybody sees it; in inference mode nobody has."""


FUNCTIONAL_KINDS: Final = {
    **dict.fromkeys(FILLED, Kind.FILLED),
    **dict.fromkeys(TOLD_BY_FINITENESS, Kind.COMPARED),
    **dict.fromkeys(TOLD_BY_TRUTHS, Kind.TRUTH),
    "aten::topk": Kind.CHOSEN,
    "aten::add": Kind.ADDED,
    "aten::_to_copy": Kind.CONVERTED,
}
"""Kinds of operators that write to none of their arguments."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """An operator as far as known values care."""

    name: str
    kind: Kind
    written: tuple[tuple[int, str], ...]
    """Position and name of the arguments that it writes to."""
    overwrites: bool
    """Whether the former values of what it writes to do not matter."""
    formula: Formula | None
    """How many floating-point operations it takes; None where that is not counted."""
    indifferent: bool
    """Whether it changes nothing about what is known, and nothing of it is counted.

    Asked of every operator; looking up an Enum would take longer.
    """


_plans: dict[int, Plan] = {}


def plan_of(operator: OpOverload) -> Plan:
    """Return what is to be done about `operator`.

    Operators live as long as the process and compare by identity; their own hash is a Python function, and costs more than
    the look-up.
    """
    plan = _plans.get(id(operator))
    if plan is None:
        plan = _plans[id(operator)] = _planned(operator)
    return plan


def _planned(operator: OpOverload) -> Plan:
    schema = operator._schema
    written = tuple(
        (position, argument.name)
        for position, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    kind = _kind(operator)
    formula = FORMULAS.get(schema.name)
    return Plan(
        name=schema.name,
        kind=kind,
        written=written,
        overwrites=schema.name in OVERWRITES or all(schema.arguments[position].is_out for position, _ in written),
        formula=formula,
        indifferent=formula is None and kind in {Kind.VIEW, Kind.BLANK},
    )


def _kind(operator: OpOverload) -> Kind:
    if _is_composite(operator):
        return Kind.COMPOSITE
    return _kind_by_name(operator) or _kind_by_schema(operator)


def _kind_by_name(operator: OpOverload) -> Kind | None:
    schema = operator._schema
    by_name = {
        **({} if schema.is_mutable else FUNCTIONAL_KINDS),
        **dict.fromkeys(READS, Kind.READ),
        **dict.fromkeys(SHAPED_BY_VALUES, Kind.SHAPED),
        **dict.fromkeys(INDEXED, Kind.INDEXED),
        **({} if schema.is_mutable else dict.fromkeys(CHECKING, Kind.CHECKING)),
        "aten::_coalesce": Kind.COALESCED,
        "aten::_linalg_check_errors": Kind.CHECKED,
        "aten::lift_fresh": Kind.LIFTED,
        "aten::lift_fresh_copy": Kind.LIFTED,
        "aten::masked_scatter_backward": Kind.MASKED_SCATTER_BACKWARD,
    }
    return by_name.get(schema.name)


def _kind_by_schema(operator: OpOverload) -> Kind:
    schema = operator._schema
    name = schema.name
    if not name.startswith(("aten::", "prims::")):
        return Kind.COLLECTIVE if name.startswith(COLLECTIVES) and name not in NO_COLLECTIVES else Kind.OPAQUE
    if "sparse" in name:
        return Kind.SPARSE
    if operator.is_view:
        return Kind.VIEW
    if "empty" in name or torch.Tag.nondeterministic_seeded in operator.tags:
        return Kind.OPAQUE if schema.is_mutable else Kind.BLANK
    if schema.is_mutable:
        return Kind.MUTATING
    takes_tensors = any("Tensor" in str(argument.type) for argument in schema.arguments)
    return Kind.PURE if takes_tensors else Kind.CREATION


def _is_composite(operator: OpOverload) -> bool:
    """Return whether other operators do its work on a card."""
    composite, cuda = (
        torch._C._dispatch_has_kernel_for_dispatch_key(operator.name(), key) for key in ("CompositeImplicitAutograd", "CUDA")
    )
    return bool(composite and not cuda)
