"""Keeps `torch.compile`, used as a decorator while libraries are imported, from loading the compiler before it is wanted."""

from __future__ import annotations

from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def compiled_when_called() -> Iterator[None]:
    """Have functions that are decorated inside compiled by their first call.

    bitsandbytes 0.50 decorates kernels for machines without a GPU. That loads torch's whole compiler, 560 modules in about two
    seconds, and none of them is ever called.
    """
    compile_now = torch.compile

    def compile_late(function: Callable[..., Any] | None = None, **options: Any) -> Any:
        if function is None:
            return lambda decorated: compile_late(decorated, **options)
        compiled: list[Callable[..., Any]] = []

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not compiled:
                compiled.append(compile_now(function, **options))
            return compiled[0](*args, **kwargs)

        return call

    torch.compile = compile_late  # type: ignore[assignment] # torch has it as two overloads
    try:
        yield
    finally:
        torch.compile = compile_now
