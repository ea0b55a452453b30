"""What Triton kernels write: they are launched past torch's dispatcher, so the dispatch mode does not see them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STORES: Final = ("store", "store_tensor_descriptor")
"""Functions of `triton.language` that write through their first argument, besides those that begin with `atomic_`."""


@contextmanager
def triton_writes_seen(forget: Callable[[Tensor], None]) -> Iterator[None]:
    """Call `forget` with each tensor that a Triton kernel launched inside may have written to; nothing without Triton."""
    try:
        from triton.runtime.jit import JITFunction
    except ImportError:
        yield
        return
    launched_alike = hasattr(JITFunction, "run")  # Triton 2 makes a launcher for each kernel
    launch = JITFunction.run if launched_alike else _run_its_own

    def run(kernel: Any, *args: Any, grid: Any, warmup: bool = False, **kwargs: Any) -> Any:
        result = launch(kernel, *args, grid=grid, warmup=warmup, **kwargs)
        given = {**dict(zip(kernel.arg_names, args, strict=False)), **kwargs}
        for name in _written_names(kernel.fn) & given.keys():
            if isinstance(given[name], Tensor) and given[name].is_cuda:
                forget(given[name])
        return result

    JITFunction.run = run if launched_alike else property(lambda kernel: partial(run, kernel), _keep_its_own)
    try:
        yield
    finally:
        if launched_alike:
            JITFunction.run = launch
        else:
            del JITFunction.run


def _run_its_own(kernel: Any, *args: Any, **kwargs: Any) -> Any:
    return vars(kernel)["run"](*args, **kwargs)


def _keep_its_own(kernel: Any, launcher: Callable[..., Any]) -> None:
    vars(kernel)["run"] = launcher


@cache
def _written_names(function: Callable[..., None]) -> frozenset[str]:
    """Return the arguments through which a kernel may write, by its source.

    A pointer is followed through assignments. One that is handed to another function may be written there. Where the source
    cannot be had, every argument may be.
    """
    arguments = frozenset(inspect.signature(function).parameters)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError, TypeError):
        return arguments
    reached = {name for call in ast.walk(tree) if isinstance(call, ast.Call) for name in _names_written_by(call)}
    sources = list(_assignments(tree))
    grown = True
    while grown:
        more = {name for targets, used in sources if targets & reached for name in used}
        grown = not more <= reached
        reached |= more
    return arguments & reached


def _names_written_by(call: ast.Call) -> set[str]:
    """Return the names that a call may write through: the pointer of a store, or all that another function is given."""
    if isinstance(call.func, ast.Attribute):  # tl.store(pointer, ...), tl.atomic_add(pointer, ...), descriptor.store(...)
        if call.func.attr in STORES or call.func.attr.startswith("atomic_"):
            return _names(call.func.value) | (_names(call.args[0]) if call.args else set())
        return set()
    return {name for argument in (*call.args, *(keyword.value for keyword in call.keywords)) for name in _names(argument)}


def _assignments(tree: ast.AST) -> Iterator[tuple[set[str], set[str]]]:
    """Yield, for each assignment, the names that it sets and those that it uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            yield {name for target in node.targets for name in _names(target)}, _names(node.value)
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)) and node.value is not None:
            yield _names(node.target), _names(node.value)


def _names(node: ast.AST) -> set[str]:
    return {found.id for found in ast.walk(node) if isinstance(found, ast.Name)}
