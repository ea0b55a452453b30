"""Whose memory is it: what weights, gradients and optimizer states hold, asked of the living objects."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from pytest_vramguard.meter.blocks import Holding, Owner
from pytest_vramguard.meter.modules import paths_below

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch.optim import Optimizer

NESTING: Final = 3
"""How deep tensors are looked for inside the attributes of a parameter: bitsandbytes' double quantisation nests two states."""

BY_ROWS: Final = ("crow_indices", "col_indices", "values")
BY_COLUMNS: Final = ("ccol_indices", "row_indices", "values")
PARTS: Final = {
    torch.sparse_coo: ("_indices", "_values"),
    torch.sparse_csr: BY_ROWS,
    torch.sparse_bsr: BY_ROWS,
    torch.sparse_csc: BY_COLUMNS,
    torch.sparse_bsc: BY_COLUMNS,
}
"""Methods that return what a sparse tensor is made of, by its layout."""


@dataclass(kw_only=True, slots=True)
class Owners:
    """Asks living objects for what they hold, by the address of the block, and remembers which module a parameter is of."""

    paths: dict[int, str] = field(default_factory=dict)
    """Path of the module by the `id` of a parameter."""
    output_paths: set[str] = field(default_factory=set)
    """Paths of what makes logits: output layers with all inside, and the models around them, which compute the loss."""

    def gradients_of(self, optimizer: Optimizer) -> dict[int, Holding]:
        """Return the gradients that `optimizer` is about to use."""
        found: dict[int, Holding] = {}
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    found |= self._held(Owner.GRADIENTS, parameter, [parameter.grad])
        return found

    def states_of(self, optimizer: Optimizer) -> dict[int, Holding]:
        """Return the state tensors of `optimizer`."""
        found: dict[int, Holding] = {}
        for parameter, state in optimizer.state.items():
            found |= self._held(Owner.OPTIMIZER, parameter, _tensors_in(state, NESTING))
        return found

    def module_memory(self) -> dict[int, Holding]:
        """Return the parameters, buffers and gradients of every module that is alive in this process."""
        gradients: dict[int, Holding] = {}
        weights: dict[int, Holding] = {}
        modules = _living_modules()
        paths, adapters = _paths_of(modules), _adapters_in(modules)
        self.output_paths |= {paths[id(module)] for module in _making_logits(modules) if id(module) in paths}
        for module in modules:
            owner = Owner.ADAPTERS if id(module) in adapters else Owner.WEIGHTS
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                if tensor is None:
                    continue
                self.paths[id(tensor)] = paths.get(id(module), "")
                weights |= self._held(owner, tensor, _with_attributes(tensor))
                if tensor.grad is not None:
                    gradients |= self._held(Owner.GRADIENTS, tensor, [tensor.grad])
        return weights | gradients

    def _held(self, owner: Owner, parameter: Tensor, tensors: Iterable[Tensor]) -> dict[int, Holding]:
        holding = Holding(owner=owner, module=self.paths.get(id(parameter), ""))
        plain = (part for tensor in tensors if tensor.device.type == "cuda" for part in _parts_of(tensor))
        return {part.untyped_storage().data_ptr(): holding for part in plain}


def _living_modules() -> list[nn.Module]:
    # The type is asked, not the object: a proxy answers isinstance for what it stands for, and may run code to do so.
    return [found for found in gc.get_objects() if issubclass(type(found), nn.Module)]


def _paths_of(modules: Iterable[nn.Module]) -> dict[int, str]:
    """Return the path of each module by its `id`, from the outermost module that it is in."""
    modules = tuple(modules)
    inner = {id(child) for module in modules for child in module._modules.values()}
    paths: dict[int, str] = {}
    roots = [list(paths_below(root)) for root in modules if id(root) not in inner]
    for named in sorted(roots, key=len):  # the largest names what is in several
        paths |= {id(module): path for module, path in named}
    return paths


def _adapters_in(modules: Iterable[nn.Module]) -> set[int]:
    """Return the `id` of each module that PEFT has added: what its layers name as theirs, and what is inside."""
    added = (getattr(module, name, None) for module in modules for name in getattr(type(module), "adapter_layer_names", ()))
    return {id(part) for module in added if isinstance(module, nn.Module) for part in module.modules()}


def _making_logits(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Yield each model that names its output layer, as those of transformers do, that layer, and what is inside of it."""
    for module in modules:
        if hasattr(type(module), "get_output_embeddings"):
            output = module.get_output_embeddings()  # type: ignore[operator]  # nn.Module types any attribute as a module
            if isinstance(output, nn.Module):
                yield module
                yield from output.modules()


def held_by_workspaces() -> dict[int, Holding]:
    """Return what torch keeps as workspaces for cuBLAS; they are given back, and made anew when they are needed."""
    before = set(_living_addresses())
    torch._C._cuda_clearCublasWorkspaces()
    holding = Holding(owner=Owner.WORKSPACE)
    return dict.fromkeys(before.difference(_living_addresses()), holding)


def _living_addresses() -> Iterator[int]:
    for segment in torch.cuda.memory_snapshot():
        address = segment["address"]
        for block in segment["blocks"]:
            if block["state"] == "active_allocated":
                yield address
            address += block["size"]


def _parts_of(tensor: Tensor) -> Iterator[Tensor]:
    """Yield the tensors with memory that `tensor` is made of: itself, or what a DTensor and its like or a sparse one hold."""
    if tensor.layout in PARTS:
        yield from (getattr(tensor, part)() for part in PARTS[tensor.layout])
        return
    if not hasattr(tensor, "__tensor_flatten__"):
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()
    for name in names:
        part = getattr(tensor, name)
        if isinstance(part, Tensor):  # a DTensor names its mesh too
            yield from _parts_of(part)


def _with_attributes(tensor: Tensor) -> Iterator[Tensor]:
    """Yield `tensor` and the tensors among its attributes: scales and code books of a quantised weight."""
    yield tensor
    yield from _tensors_in(tensor.__dict__, NESTING)


def _tensors_in(holder: object, depth: int) -> Iterator[Tensor]:
    if isinstance(holder, Tensor):
        yield holder
    elif depth > 0:
        values = holder.values() if isinstance(holder, dict) else getattr(holder, "__dict__", {}).values()
        for value in values:
            yield from _tensors_in(value, depth - 1)
