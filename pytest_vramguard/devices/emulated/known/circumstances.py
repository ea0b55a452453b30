"""How an operator is called: inside the capture of a graph, without data, or as the card's own part of it."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

import torch

from pytest_vramguard.devices.emulated.known.operands import tensors_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch._ops import OpOverload

capturing: Final = torch.cuda.is_current_stream_capturing
"""Return whether a graph is captured: that is not done, so nothing that it will write is known, and a read fails."""
fake_mode: Final[Callable[[], object]] = (
    partial(torch._C._get_dispatch_mode, torch._C._TorchDispatchModeKey.FAKE)
    if hasattr(torch._C, "_get_dispatch_mode")
    else lambda: None
)
"""Return the mode in which operators have no data, since torch asks what a result would be like; None where there is none.

In torch 2.1 it is a mode like any other, and sees operators before that of the known values does.
"""


def on_card(operator: OpOverload, *arguments: Any, **keywords: Any) -> Any:
    """Run the card's own part of an operator, in which modes see what it calls; of sparse tensors on the host, the host's."""
    arguments = tuple(map(_as_declared, operator._schema.arguments, arguments))
    tensors = list(tensors_in(arguments, keywords))
    layouts = {tensor.layout for tensor in tensors} - {torch.strided}
    layout = "" if not layouts else "Sparse" if layouts == {torch.sparse_coo} else "SparseCsr"
    key = _key(layout + ("CUDA" if any(tensor.is_cuda for tensor in tensors) else "CPU"))
    if hasattr(operator, "redispatch"):
        return operator.redispatch(torch._C.DispatchKeySet(key), *arguments, **keywords)
    return operator._op_dk(key, *arguments, **keywords)  # up to torch 2.2


def _as_declared(declared: Any, given: Any) -> Any:
    """Return a number that stands where an operator takes a tensor as one, which a call by key does not do by itself."""
    is_number = isinstance(given, (bool, int, float, complex)) and isinstance(declared.type, torch.TensorType)
    return torch.tensor(given) if is_number else given


@cache
def _key(name: str) -> Any:
    """Return a key of the dispatcher; up to torch 2.2 it has more of them than Python has names for."""
    return torch._C._dispatch_key_parse(name)
