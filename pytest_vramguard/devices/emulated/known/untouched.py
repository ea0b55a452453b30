"""Large tensors of the host that nobody has written to: zeros that take no memory, and do so in another type as well.

The weights of a phantom checkpoint are holes in a file. To convert those of 70 billion parameters, as accelerate does before it
shards a model, would fill the memory of the host with zeros.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from pytest_vramguard.units import MIB

if TYPE_CHECKING:
    from torch import Tensor

LARGE_BYTES: Final = 32 * MIB
"""From this size on memory of the host is fresh, and so zero. Source: glibc, DEFAULT_MMAP_THRESHOLD_MAX of malloc/malloc.c."""
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_ENTRY_BYTES: Final = 8
"""Of a page in `/proc/self/pagemap`; 0 for one that is neither in memory nor swapped out, apart from its bits for marks.

Source: https://docs.kernel.org/admin-guide/mm/pagemap.html
"""
_IN_MEMORY_OR_SWAPPED: Final = -1 << 62  # the two highest bits of a signed number


def converted(tensor: Tensor, keywords: dict[str, Any]) -> Tensor | None:
    """Return what `_to_copy` with `keywords` makes of an untouched tensor of the host, untouched as well; None of any other."""
    dtype = keywords.get("dtype") or tensor.dtype
    device = keywords.get("device")
    stays = device is None or torch.device(device).type == "cpu"
    size_bytes = tensor.numel() * dtype.itemsize
    if not stays or size_bytes < LARGE_BYTES or not tensor.is_contiguous() or not _is_untouched(tensor):
        return None
    return torch.empty_like(tensor, dtype=dtype, memory_format=torch.contiguous_format)


def _is_untouched(tensor: Tensor) -> bool:
    """Return whether the memory of a contiguous tensor is a hole of a file, or was not used since Linux gave it.

    That is asked of its whole pages. What lies before and after is looked at, since there are a file's header, or malloc's.
    """
    begin = -(-tensor.data_ptr() // _PAGE_BYTES) * _PAGE_BYTES
    end = (tensor.data_ptr() + tensor.nbytes) // _PAGE_BYTES * _PAGE_BYTES
    with Path("/proc/self/maps").open(encoding="utf-8", errors="replace") as mappings:
        for mapping in mappings:
            place, _, offset, _, _, *path = mapping.split(maxsplit=5)
            first, last = (int(bound, 16) for bound in place.split("-"))
            if first <= begin < last:
                if end > last:  # it lies in several
                    return False
                if path and path[0].startswith("/"):
                    empty = _is_hole(Path(path[0].rstrip("\n")), int(offset, 16) + begin - first, end - begin)
                else:
                    empty = _is_unused(begin, end)
                return empty and not _edges(tensor, begin, end).any()
    return False


def _is_hole(path: Path, begin: int, size_bytes: int) -> bool:
    """Return whether a file has no data in `size_bytes` from `begin` on."""
    try:
        with path.open("rb") as file:
            return os.lseek(file.fileno(), begin, os.SEEK_DATA) >= begin + size_bytes
    except OSError:  # no data up to the end of the file; or the file is there no more
        return path.exists()


def _is_unused(begin: int, end: int) -> bool:
    """Return whether no page from `begin` to `end` was ever touched."""
    with Path("/proc/self/pagemap").open("rb") as pages:
        pages.seek(begin // _PAGE_BYTES * _ENTRY_BYTES)
        entries = torch.frombuffer(bytearray(pages.read((end - begin) // _PAGE_BYTES * _ENTRY_BYTES)), dtype=torch.int64)
    return not (entries & _IN_MEMORY_OR_SWAPPED).any()


def _edges(tensor: Tensor, begin: int, end: int) -> Tensor:
    """Return the bytes of a tensor outside of its whole pages; more are not read, since that is to touch them."""
    memory = tensor.view(-1).view(torch.uint8)
    return torch.cat([memory[: begin - tensor.data_ptr()], memory[end - tensor.data_ptr() :]])
