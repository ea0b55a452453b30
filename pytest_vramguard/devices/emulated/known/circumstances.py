"""In which circumstances an operator is called: inside the capture of a graph, or without data."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

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
