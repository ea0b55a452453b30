"""Which module runs when memory is allocated: a label that torch's allocator writes beside each event.

A label is one of a thread. Hooks of all modules set it when a module begins and restore it when it ends. A backward pass runs
in a thread of its own without modules: there a hook of each autograd node that made an output sets it.
"""

from __future__ import annotations

import re
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NO_LABEL: Final = ""
COMPILED: Final = "_orig_mod."
"""What `torch.compile` puts into the paths of a module. Source: torch, torch/_dynamo/eval_frame.py, OptimizedModule."""
COMPILED_WARNING: Final = r"Using `torch\.compile\(module\)` when there are global hooks"
"""How a compiled module tells, once for each call, that it runs inside of hooks, which do nothing here."""
NO_BACKWARD: Final = -1
"""What torch answers outside of a backward pass. Source: torch, torch/autograd/graph.py, register_multi_grad_hook."""
MARK: Final = "vramguard: labelled"
"""Key in the metadata of an autograd node that sets a label already: the innermost module that returns a tensor made it."""
_FORWARDS: Final = count(1)
"""Numbers the forward passes of this process, apart from those that a backward pass repeats."""
_NUMBER: Final = re.compile(r"(?<![^.])\d+(?![^.])")


def collapsed(path: str) -> str:
    """Return the path of a module with its numbers as `*`: layers that are alike are one.

    >>> collapsed("model.layers.17.mlp")
    'model.layers.*.mlp'
    """
    return _NUMBER.sub("*", path)


def running_module(label: str) -> tuple[str, int]:
    """Return the path of the module in a label, and the number of the last forward pass when it was set; none says ("", 0)."""
    number, _, path = label.partition(" ")
    return path, int(number or 0)


def paths_below(root: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield each module in `root` with its path, numbers collapsed; `root`, and what has but a number in it, by its class."""
    name = type(root).__name__
    for full_path, module in root.named_modules():
        path = f"{full_path}.".replace(COMPILED, "").removesuffix(".")
        yield module, collapsed(f"{name}.{path}" if path[:1].isdecimal() else path or name)


@contextmanager
def running_modules_labelled() -> Iterator[None]:
    """Have the allocator's events carry the running module while the code inside runs; older releases of torch cannot."""
    if not hasattr(torch._C, "_cuda_setMemoryMetadata"):
        yield
        return
    warnings.filterwarnings("ignore", message=COMPILED_WARNING)  # where warnings are errors, a case must not fail by ours
    labels = _Labels()
    with ExitStack() as stack:
        stack.callback(torch._C._cuda_setMemoryMetadata, NO_LABEL)
        stack.callback(register_module_forward_pre_hook(labels.enter).remove)
        stack.callback(register_module_forward_hook(labels.leave, always_call=True).remove)
        yield


@dataclass(eq=False, slots=True)
class _Labels:
    """The hooks. They change no tensor, keep no module alive, and do nothing while a compiler reads the code of a module."""

    paths: dict[int, tuple[ReferenceType[nn.Module], str]] = field(default_factory=dict)
    """The path of each module by its `id`, which may be that of another one later; a module need not have a hash."""
    outer: dict[int, list[str]] = field(default_factory=dict)
    """The labels to restore, by the `id` of the module that runs: a list, since a module may run inside itself."""
    forward: int = 0
    """Number of the last forward pass."""

    def enter(self, module: nn.Module, _arguments: Any) -> None:
        """Note that `module` runs."""
        if torch.compiler.is_compiling():
            return
        before = torch._C._cuda_getMemoryMetadata()
        if before == NO_LABEL and torch._C._current_graph_task_id() == NO_BACKWARD:
            self.forward = next(_FORWARDS)
        self.outer.setdefault(id(module), []).append(before)
        self._set(self._path_of(module))

    def leave(self, module: nn.Module, _arguments: Any, output: Any) -> None:
        """Note that what was running before `module` goes on, and that the backward pass of `output` will be its."""
        if torch.compiler.is_compiling() or not self.outer.get(id(module)):
            return
        torch._C._cuda_setMemoryMetadata(self.outer[id(module)].pop())
        path = self._path_of(module)
        for node in (tensor.grad_fn for tensor in _tensors_in(output) if tensor.is_cuda):
            marks: Any = None if node is None else node.metadata  # a dict, which torch's types call a method
            if node is not None and MARK not in marks:
                marks[MARK] = True
                node.register_prehook(lambda _gradients: self._set(path))

    def _set(self, path: str) -> None:
        torch._C._cuda_setMemoryMetadata(f"{self.forward} {path}")

    def _path_of(self, module: nn.Module) -> str:
        """Return the path of a module; one that is not known is called by itself, and names all that is in it."""
        known = self.paths.get(id(module))
        if known is None or known[0]() is not module:
            self.paths |= {id(inner): (ref(inner), path) for inner, path in paths_below(module)}
        return self.paths[id(module)][1]


def _tensors_in(output: Any) -> Iterable[Tensor]:
    """Return the tensors in what a module returns: a tensor, or a sequence or mapping of them."""
    if isinstance(output, Tensor):
        return (output,)
    values = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else ()
    return tuple(value for value in values if isinstance(value, Tensor))
