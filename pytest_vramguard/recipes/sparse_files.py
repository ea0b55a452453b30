"""Weights that are zero take no room on the disk: safetensors files are written with holes while a case saves a model.

A model without weights of its own is all zeros on an emulated card, and a full 7B checkpoint would be 13 GiB of them. What is
read from such a file is what would have been written.
"""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeAlias

import numpy as np
import safetensors.torch

from pytest_vramguard.recipes.safetensors_header import CODES, Entry, beginning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from os import PathLike

torch_files: Any = safetensors.torch
"""Where `save_file` looks for the function that writes; safetensors says nothing of it to type checkers."""
Bytes: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.bool_]]"
"""A buffer, one item a byte."""

CHUNK_BYTES: Final = 2**20
"""As many zeros in a row become a hole."""


@contextmanager
def sparse_files() -> Iterator[None]:
    """Have `safetensors.torch.save_file` leave holes in the block, by whatever name it was imported."""
    written_whole = torch_files.serialize_file

    def write(tensors: dict[str, Any], filename: str | PathLike[str], metadata: dict[str, str] | None = None) -> None:
        _write([_content(name, tensor) for name, tensor in tensors.items()], Path(filename), metadata or {})

    torch_files.serialize_file = write
    try:
        yield
    finally:
        torch_files.serialize_file = written_whole


def _content(name: str, tensor: Any) -> tuple[Entry, Bytes]:
    """Return a tensor as safetensors hands it to its writer: by its address, or before release 0.8 as a copy."""
    if isinstance(tensor, dict):
        content, code, shape = tensor["data"], CODES[tensor["dtype"]], tensor["shape"]
    else:
        content, code, shape = (ctypes.c_ubyte * tensor.data_len).from_address(tensor.data_ptr), tensor.dtype, tensor.shape
    searched: Bytes = np.frombuffer(content, np.bool_)  # booleans are searched the fastest
    return Entry(name=name, code=code, shape=tuple(shape), size_bytes=searched.size), searched


def _write(contents: Sequence[tuple[Entry, Bytes]], path: Path, metadata: Mapping[str, str]) -> None:
    """Write one file. Wide types come first, so that each tensor begins at a multiple of its own."""
    ordered = sorted(contents, key=lambda content: -content[0].size_bytes // max(prod(content[0].shape), 1))
    first, starts = beginning([entry for entry, _content in ordered], metadata)
    with path.open("wb") as file:
        file.write(first)
        for start, (_entry, content) in zip(starts, ordered, strict=False):
            _write_content(file, start, content)
        file.truncate(starts[-1])


def _write_content(file: BinaryIO, start: int, content: Bytes) -> None:
    """Write each chunk that is not all zero at its place."""
    for offset in range(0, content.size, CHUNK_BYTES):
        chunk = content[offset : offset + CHUNK_BYTES]
        if chunk.any():
            file.seek(start + offset)
            file.write(chunk.data)
