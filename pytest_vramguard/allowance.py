"""How much something may be, or differ from its baseline, as it is written in markers and settings.

A limit is a share of the baseline, a size, or both: `1%`, `64MiB`, `1%+8MiB`. Of both, the larger counts, so that a change must
be beyond each of them. `0` allows nothing. Of what is counted and has no size, a number stands in its place: `1%+10`.
For peaks, without a name a limit is one of the allocated peak; others are named, and several
separated by commas: `1%, device=5%+64MiB`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from pytest_vramguard.units import GIB, KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Callable

PeakName: TypeAlias = Literal["allocated", "reserved", "device"]
PEAKS: Final = ("allocated", "reserved", "device")
EXPECTED: Final = "expected a share, a size or both, as in '1%', '64MiB' or '1%+8MiB'"
EXPECTED_COUNT: Final = "expected a share, a number or both, as in '1%', '10' or '1%+10'"
EXPECTED_LIMIT: Final = "expected a size, as in '10GB' or '512MiB'"

_UNITS: Final = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}
_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%", re.ASCII)
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB)", re.ASCII)
_CARD_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*GB", re.ASCII)
"""A size as on markers and cards, where GB means GiB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseLimit:
    """What a project allows one phase."""

    phase: str
    """`load`, `first step`, `optimizer`, `steady`, `eval`, `generate`, `save`, `merge`, or a name given to `vram.phase`."""
    max_bytes: int
    """At least 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """How much more, or less, than the baseline is still the same."""

    text: str
    """As written."""
    share: Fraction = Fraction(0)
    """Of the baseline, 0 upwards; exactly the decimal that was written."""
    amount: int = 0
    """In bytes, or in what is counted."""

    def of(self, baseline: Fraction | int) -> int:
        """Return the largest change of `baseline` that passes, in whole bytes, or whole numbers of what is counted."""
        return max(floor(self.share * baseline), self.amount)


@dataclass(frozen=True, kw_only=True, slots=True)
class PeakAllowance:
    """An allowance for one of the three peaks."""

    peak: PeakName
    allowance: Allowance


def parse_allowances(text: str) -> tuple[PeakAllowance, ...]:
    """Return the allowances in a text like `1%, device=64MiB`, at most one for each peak.

    Raises:
        ValueError: it is not one; the message says what was found and what was expected.
    """
    parsed = tuple(_named(item.strip()) for item in text.split(","))
    names = [one.peak for one in parsed]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"got two limits for the {twice} peak, expected one")
    return parsed


def parse_allowance(text: str) -> Allowance:
    """Return the allowance in a text like `1%+8MiB`: a share, a size or both, each at most once.

    Raises:
        ValueError: as `parse_allowances`.
    """
    return _allowance(text, parse_size, EXPECTED)


def parse_count_allowance(text: str) -> Allowance:
    """Return the allowance in a text like `1%+10`: a share, a number or both, each at most once.

    Raises:
        ValueError: as `parse_allowances`.
    """
    return _allowance(text, _parse_count, EXPECTED_COUNT)


def _allowance(text: str, parse_amount: Callable[[str, str], int], expected: str) -> Allowance:
    parts = [part.strip() for part in text.split("+")]
    shares = [Fraction(found[1]) / 100 for part in parts if (found := _SHARE.fullmatch(part))]
    amounts = [parse_amount(part, expected) for part in parts if not _SHARE.fullmatch(part)]
    if len(shares) > 1 or len(amounts) > 1:
        raise ValueError(f"got {text!r}, {expected}")
    return Allowance(text=text, share=(shares or [Fraction(0)])[0], amount=(amounts or [0])[0])


def parse_share(text: str) -> float:
    """Return the share in a text like `10%`, 0 upwards.

    Raises:
        ValueError: as `parse_allowances`.
    """
    found = _SHARE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"got {text!r}, expected a share, as in '10%'")
    return float(Fraction(found[1]) / 100)


def parse_size(text: str, expected: str = "expected a size, as in '64KiB', '1.5GiB' or '0'") -> int:
    """Return the whole bytes in a text like `64MiB`, `1.5 GiB` or `0`, rounded down; `expected` ends the message.

    Raises:
        ValueError: as `parse_allowances`; `MB` and `GB` could mean either of two sizes.
    """
    if text == "0":
        return 0
    found = _SIZE.fullmatch(text)
    if found is None:
        hint = "; write KiB, MiB or GiB" if re.search(r"\d\s*[kKMG]B?$", text) else ""
        raise ValueError(f"got {text!r}, {expected}{hint}")
    return floor(Fraction(found[1]) * _UNITS[found[2]])


def _parse_count(text: str, expected: str) -> int:
    if not re.fullmatch(r"\d+", text, re.ASCII):
        raise ValueError(f"got {text!r}, {expected}")
    return int(text)


def parse_limit(text: str) -> int:
    """Return the whole bytes, at least 1, in the size of a limit: as `parse_size`, or in the GB that cards have, `10GB`.

    Raises:
        ValueError: as `parse_allowances`.
    """
    found = _CARD_SIZE.fullmatch(text)
    size_bytes = floor(Fraction(found[1]) * GIB) if found else parse_size(text, EXPECTED_LIMIT)
    if size_bytes < 1:
        raise ValueError(f"got {text!r}, {EXPECTED_LIMIT}, of at least 1 byte")
    return size_bytes


def _named(item: str) -> PeakAllowance:
    name, equals, limit = item.partition("=")
    if not equals:
        return PeakAllowance(peak="allocated", allowance=parse_allowance(item))
    if name.strip() not in PEAKS:
        raise ValueError(f"got a limit for {name.strip()!r}, expected one for {', '.join(PEAKS)}")
    return PeakAllowance(peak=cast("PeakName", name.strip()), allowance=parse_allowance(limit.strip()))
