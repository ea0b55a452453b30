"""Phantom checkpoints: a model by its config alone, as a folder that the real `from_pretrained` loads.

The weights are holes in sparse safetensors files, with headers as published checkpoints have them: the real loading path runs,
the allocator sees what it would see, and the disk holds some kilobytes. All weights read as zero.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Final
from weakref import finalize

import torch
from transformers import AutoModelForCausalLM

from pytest_vramguard.recipes.releases import DTYPE_KEY
from pytest_vramguard.recipes.safetensors_header import CODES, Entry, beginning
from pytest_vramguard.units import GIB

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_SHARD_BYTES: Final = 2 * GIB
"""Most that one file holds, unless a single tensor is larger. Each file is mapped as a whole, and Linux refuses a mapping of
more than memory and swap could hold. Source: https://docs.kernel.org/mm/overcommit-accounting.html, mode 0."""


class PhantomStore:
    """The phantom checkpoints of a process, each written once, in a temporary folder that goes with the store."""

    def __init__(self) -> None:
        """Make the folder."""
        self._root = Path(mkdtemp(prefix="vramguard-phantom-"))
        finalize(self, rmtree, self._root, ignore_errors=True)  # a TemporaryDirectory would warn that nobody closed it
        self._folders: dict[tuple[str, torch.dtype], Path] = {}

    def folder(self, config: PreTrainedConfig, dtype: torch.dtype) -> Path:
        """Return a folder with `config.json` and weights of `dtype` for a causal language model of this config.

        Give the type that the load asks for. Weights of another are converted on the host before they go to the card, which
        the card does not notice, and which costs 20 seconds and 13 GiB for a 7B model (measured: transformers 5.23, 2 cores).
        """
        key = (config.to_json_string(use_diff=False), dtype)
        if key not in self._folders:
            folder = self._root / str(len(self._folders))
            folder.mkdir()
            config.save_pretrained(folder)
            _write_checkpoint(folder, _tensors(config, dtype))
            self._folders[key] = folder
        return self._folders[key]


@cache
def phantom_store() -> PhantomStore:
    """Return the store of this process; its folder is removed when the process ends."""
    return PhantomStore()


def _tensors(config: PreTrainedConfig, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint by name, without bytes; tied weights once, as in published checkpoints."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, **{DTYPE_KEY: dtype})
    seen: set[int] = set()
    tensors = {}
    for name, tensor in model.state_dict(keep_vars=True).items():  # keep_vars, so that tied weights are one object
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor
    return tensors


def _write_checkpoint(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write the weights into one file, or into several with an index, under the names that `from_pretrained` looks for."""
    shards = _shards(tensors)
    if len(shards) == 1:
        _write_weights(folder / "model.safetensors", tensors)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _write_weights(folder / file, shard)
        weight_map |= dict.fromkeys(shard, file)
    size_bytes = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size_bytes}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _shards(tensors: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """Divide tensors, in their order, into groups of at most `_SHARD_BYTES`."""
    shards: list[dict[str, torch.Tensor]] = []
    room_bytes = 0
    for name, tensor in tensors.items():
        if tensor.nbytes > room_bytes:
            shards.append({})
            room_bytes = _SHARD_BYTES
        shards[-1][name] = tensor
        room_bytes -= tensor.nbytes
    return shards


def _write_weights(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write a safetensors file whose header describes `tensors` and whose data is a hole of the right size."""
    entries = [
        Entry(name=name, code=_code(tensor), shape=tuple(tensor.shape), size_bytes=tensor.nbytes)
        for name, tensor in tensors.items()
    ]
    first, starts = beginning(entries, {"format": "pt"})
    with path.open("w+b") as file:
        file.write(first)
        file.truncate(starts[-1])
        _read_ahead_nothing(file.fileno(), starts)


def _code(tensor: torch.Tensor) -> str:
    return CODES[str(tensor.dtype).removeprefix("torch.")]


def _read_ahead_nothing(descriptor: int, places: list[int]) -> None:
    """Put the page at each of `places` into the page cache, and no other.

    safetensors 0.8 reads the first byte of each tensor, and the system then reads ahead: where it is set to megabytes, as on
    many virtual disks, that is 3 seconds and 4 GiB of page cache for a 7B model. A page that is cached sets nothing off.
    """
    if hasattr(os, "posix_fadvise"):  # Linux
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        for place in places:
            os.pread(descriptor, 1, place)
