"""Large tensors of the host that nobody has written to: zeros that take no memory, and do so in another type as well.

The weights of a phantom checkpoint are holes in a file. To convert those of 70 billion parameters, as accelerate does before it
shards a model, would fill the memory of the host with zeros.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from pytest_vramguard.units import MIB

if TYPE_CHECKING:
    from torch import Tensor

LARGE_BYTES: Final = 32 * MIB
"""From this size on malloc gives memory of its own, which nobody has used. Source: glibc, DEFAULT_MMAP_THRESHOLD_MAX."""
AS_IT_IS: Final = (None, torch.preserve_format, torch.contiguous_format)
"""Memory formats that leave a contiguous tensor contiguous."""
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_ENTRY_BYTES: Final = 8
# Bits of a page's entry in /proc/self/pagemap. Source: https://docs.kernel.org/admin-guide/mm/pagemap.html
_IN_MEMORY_OR_SWAPPED: Final = -1 << 62  # the two highest bits of a signed number
_OF_A_FILE: Final = 1 << 61


def converted(tensor: Tensor, keywords: dict[str, Any]) -> Tensor | None:
    """Return what `_to_copy` with `keywords` makes of an untouched tensor of the host, untouched as well; None of any other."""
    dtype = keywords.get("dtype") or tensor.dtype
    device = keywords.get("device")
    stays = device is None or torch.device(device).type == "cpu"
    plain = not keywords.get("pin_memory") and keywords.get("memory_format") in AS_IT_IS and tensor.is_contiguous()
    if not (stays and plain) or tensor.numel() * dtype.itemsize < LARGE_BYTES or not _is_untouched(tensor):
        return None
    zeros = torch.empty_like(tensor, dtype=dtype, memory_format=torch.contiguous_format)
    return zeros if _is_untouched(zeros) else None  # another malloc may give what was used before


def _is_untouched(tensor: Tensor) -> bool:
    """Return whether the memory of a contiguous tensor is a hole of a file, or was not used since Linux gave it.

    That is asked of its whole pages. What lies before and after is looked at, since there are a file's header, or malloc's.
    What cannot be told, for want of `/proc` or a permission, is taken to be touched.
    """
    begin = -(-tensor.data_ptr() // _PAGE_BYTES) * _PAGE_BYTES
    end = (tensor.data_ptr() + tensor.nbytes) // _PAGE_BYTES * _PAGE_BYTES
    try:
        return _is_empty(begin, end) and not _edges(tensor, begin, end).any()
    except OSError:
        return False


def _is_empty(begin: int, end: int) -> bool:
    """Return whether one mapping has all pages from `begin` to `end`, and nothing in them."""
    with Path("/proc/self/maps").open(encoding="utf-8", errors="replace") as mappings:
        for mapping in mappings:
            place, _, offset, _, inode, *path = mapping.split(maxsplit=5)
            first, last = (int(bound, 16) for bound in place.split("-"))
            if first <= begin and end <= last:
                if not path or not path[0].startswith("/"):
                    return not _written(begin, end, _IN_MEMORY_OR_SWAPPED)
                # What was written to a private mapping of a file is in memory, and no more of the file.
                hole = _is_hole(Path(path[0].rstrip("\n")), int(inode), int(offset, 16) + begin - first, end - begin)
                return hole and not _written(begin, end, _IN_MEMORY_OR_SWAPPED, _OF_A_FILE)
    return False


def _is_hole(path: Path, inode: int, begin: int, size_bytes: int) -> bool:
    """Return whether the file that was mapped is still at `path`, and has no data in `size_bytes` from `begin` on."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_ino != inode:
            return False
        try:
            return os.lseek(file.fileno(), begin, os.SEEK_DATA) >= begin + size_bytes
        except OSError as fault:
            if fault.errno == errno.ENXIO:  # no data up to the end of the file
                return True
            raise


def _written(begin: int, end: int, marked: int, unless: int = 0) -> bool:
    """Return whether a page from `begin` to `end` has one of the bits `marked`, and not the bit `unless`."""
    with Path("/proc/self/pagemap").open("rb") as pages:
        pages.seek(begin // _PAGE_BYTES * _ENTRY_BYTES)
        entries = torch.frombuffer(bytearray(pages.read((end - begin) // _PAGE_BYTES * _ENTRY_BYTES)), dtype=torch.int64)
    return bool((((entries & marked) != 0) & ((entries & unless) == 0)).any())


def _edges(tensor: Tensor, begin: int, end: int) -> Tensor:
    """Return the bytes of a tensor outside of its whole pages; more are not read, since that is to touch them."""
    memory = tensor.view(-1).view(torch.uint8)
    return torch.cat([memory[: begin - tensor.data_ptr()], memory[end - tensor.data_ptr() :]])
