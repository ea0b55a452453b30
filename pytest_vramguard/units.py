"""Bytes in, readable text out, and the one place that says what a GB is.

On markers, cards and in messages "GB" means GiB (2**30 bytes), as nvidia-smi and the vendors' "12 GB" do. Inside the package
every size is an integer number of bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fractions import Fraction

KIB: Final = 2**10
MIB: Final = 2**20
GIB: Final = 2**30


def bytes_of_gib(gib: float) -> int:
    """Return the number of whole bytes in `gib` GiB, rounded down."""
    return int(gib * GIB)


def gib_text(size_bytes: float) -> str:
    """Return `size_bytes` in GiB with two decimals, as in `4.62 GiB`.

    >>> gib_text(12884901888)
    '12.00 GiB'
    """
    return f"{size_bytes / GIB:.2f} GiB"


def size_text(size_bytes: float) -> str:
    """Return `size_bytes` in the largest unit that leaves at least 1, as in `8.1 MiB` or `512 bytes`.

    >>> size_text(8519680)
    '8.1 MiB'
    """
    for unit_bytes, unit in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if abs(size_bytes) >= unit_bytes:
            return f"{size_bytes / unit_bytes:.2f} GiB" if unit == "GiB" else f"{size_bytes / unit_bytes:.1f} {unit}"
    return f"{size_bytes:.0f} bytes"


def exact_text(size_bytes: int) -> str:
    """Return `size_bytes` exactly and readably, as in `25769803776 bytes (24.00 GiB)`."""
    return f"{size_bytes} bytes ({gib_text(size_bytes)})"


def count_text(count: float | Fraction) -> str:
    """Return a number with at most two decimals and its thousands apart.

    >>> count_text(1234.5)
    '1,234.5'
    """
    return f"{float(count):,.2f}".rstrip("0").removesuffix(".")


def share_text(share: float) -> str:
    """Return a share of 1 in percent with one decimal.

    >>> share_text(0.4567)
    '45.7 %'
    """
    return f"{share * 100:.1f} %"
