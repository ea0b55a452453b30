"""Tensors on the card that code prints, or a progress bar does.

torch puts a tensor into words with every mode off, and asks the card which of its numbers need digits. No kernel answers
that here, so the numbers are copied to the host first, as torch itself does for kinds of devices that cannot select.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, _tensor_str

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.utils._python_dispatch import TorchDispatchMode


@contextmanager
def printed_from_host(values: TorchDispatchMode) -> Iterator[None]:
    """Show known numbers as they are and others as zeros, while `values` sees the copy."""
    shown = _tensor_str._tensor_str

    def shown_from_host(tensor: Tensor, indent: int) -> Any:
        if tensor.is_cuda:
            with values:
                tensor = tensor.cpu()
        return shown(tensor, indent)  # type: ignore[no-untyped-call] # torch leaves it untyped

    _tensor_str._tensor_str = shown_from_host
    try:
        yield
    finally:
        _tensor_str._tensor_str = shown
