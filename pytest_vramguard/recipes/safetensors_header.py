"""The header of a safetensors file. Source: https://github.com/huggingface/safetensors, README, "Format"."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CODES: Final = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
"""Names of torch's types in a header. Source: the same repository, `safetensors/src/tensor.rs`."""
ALIGNMENT_BYTES: Final = 8
"""The header is padded with blanks to a multiple of this. Source: as above."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One tensor of a file."""

    name: str
    dtype: str
    """As torch calls it, one of `CODES`: `bfloat16`."""
    shape: tuple[int, ...]
    size_bytes: int


def beginning(entries: Sequence[Entry], metadata: Mapping[str, str]) -> tuple[bytes, list[int]]:
    """Return what comes before the data, and where in the file each tensor starts, with the end of the file."""
    offsets = list(accumulate((entry.size_bytes for entry in entries), initial=0))
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    for entry, place in zip(entries, pairwise(offsets), strict=True):
        header[entry.name] = {"dtype": CODES[entry.dtype], "shape": entry.shape, "data_offsets": place}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT_BYTES)
    first = struct.pack("<Q", len(text)) + text
    return first, [len(first) + offset for offset in offsets]
