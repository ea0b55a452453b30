"""Has `torch.compile` find again what it compiled, below a dispatch mode too.

What is compiled is used again where its guards hold. Up to torch 2.9 the guard of a tensor compares the dispatch keys of the
call, among them that of dispatch modes, with those of the moment in which the guard was made; and it is made while modes are
put aside. So below a mode no guard ever holds: every call compiles anew, and after some of them the function runs as it is
written, which takes other memory. Source: torch, torch/csrc/dynamo/guards.cpp (`TensorCheck`), torch/_dynamo/convert_frame.py.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.utils._python_dispatch import TorchDispatchMode

UNAFFECTED_FROM: Final = "2.10"
"""Release of torch; seen with 2.2.2 to 2.9.0, and no more with 2.10.0, 2.12.1, 2.13.0 and 2.14.1."""


@contextmanager
def guards_made_below(mode: TorchDispatchMode) -> Iterator[None]:
    """Have guards made with this mode active, as it is where they are looked at."""
    if torch.__version__ >= UNAFFECTED_FROM:
        yield
        return
    from torch._dynamo.guards import CheckFunctionManager  # which the first optimizer imports too

    make = CheckFunctionManager.__init__

    def make_below(manager: Any, *args: Any, **kwargs: Any) -> None:
        with mode:
            make(manager, *args, **kwargs)

    CheckFunctionManager.__init__ = make_below  # type: ignore[assignment,method-assign] # put back below
    try:
        yield
    finally:
        CheckFunctionManager.__init__ = make  # type: ignore[method-assign] # as it was
