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
    "complex64": "C64",
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
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
    code: str
    """Type, as one of the values of `CODES`: `BF16`."""
    shape: tuple[int, ...]
    size_bytes: int


def beginning(entries: Sequence[Entry], metadata: Mapping[str, str]) -> tuple[bytes, list[int]]:
    """Return what comes before the data, and where in the file each tensor starts, with the end of the file."""
    offsets = list(accumulate((entry.size_bytes for entry in entries), initial=0))
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    for entry, place in zip(entries, pairwise(offsets), strict=True):
        header[entry.name] = {"dtype": entry.code, "shape": entry.shape, "data_offsets": place}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT_BYTES)
    first = struct.pack("<Q", len(text)) + text
    return first, [len(first) + offset for offset in offsets]
