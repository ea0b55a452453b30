"""The grammar of limits that are relative to a baseline."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vramguard.allowance import (
    EXPECTED,
    EXPECTED_COUNT,
    EXPECTED_LIMIT,
    parse_allowance,
    parse_allowances,
    parse_count_allowance,
    parse_limit,
    parse_size,
)
from pytest_vramguard.units import GIB, KIB, MIB


@pytest.mark.parametrize(
    ("text", "baseline_bytes", "allowed_bytes"),
    [
        ("0", GIB, 0),
        ("0%", GIB, 0),
        ("1%", 1000, 10),
        ("1%", 1099, 10),
        ("0.1%", 100_000, 100),
        ("2.5 %", 1000, 25),
        ("64MiB", 1, 64 * MIB),
        ("1.5GiB", 0, 3 * GIB // 2),
        ("512 KiB", 0, 512 * KIB),
        ("7B", 0, 7),
        ("1%+8MiB", 100 * MIB, 8 * MIB),
        ("1%+8MiB", 1000 * MIB, 10 * MIB),
        ("8MiB + 1%", 800 * MIB, 8 * MIB),
    ],
)
def test_what_is_allowed(text: str, baseline_bytes: int, allowed_bytes: int) -> None:
    """A share is of the baseline and rounded down; of a share and a size the larger counts."""
    assert allowed_bytes == parse_allowance(text).of(baseline_bytes)


@pytest.mark.parametrize(
    ("text", "baseline", "allowed"),
    [("0", 1000, 0), ("10", 0, 10), ("1%", 1099, 10), ("1%+10", 900, 10), ("10 + 1%", 2000, 20), ("50%", Fraction(5, 2), 1)],
)
def test_how_many_more_are_allowed(text: str, baseline: int | Fraction, allowed: int) -> None:
    """Of what is counted a number stands in the place of a size; an average may be a fraction."""
    assert allowed == parse_count_allowance(text).of(baseline)


@pytest.mark.parametrize("text", ["1MiB", "-1", "1+2", "1.5", "", "1%%", "many", "\N{ARABIC-INDIC DIGIT ONE}"])
def test_what_is_no_number_of_more(text: str) -> None:
    """Anything else is refused with the forms that there are."""
    with pytest.raises(ValueError, match=r"^got '") as caught:
        parse_count_allowance(text)

    assert EXPECTED_COUNT in str(caught.value)


@given(hundredths=st.integers(0, 10_000), hundred_bytes=st.integers(0, GIB))
def test_a_share_is_the_decimal_that_was_written(hundredths: int, hundred_bytes: int) -> None:
    """A share of n hundredths of a percent is exact, although few such numbers have an exact float."""
    allowance = parse_allowance(f"{hundredths // 100}.{hundredths % 100:02}%")

    assert hundredths * hundred_bytes == allowance.of(10_000 * hundred_bytes)


@pytest.mark.parametrize(
    "text", ["1", "1%+2%", "1MiB+2MiB", "-1%", "1 %%", "1e3MiB", "MiB", "", "+1%", "1%+", "nan%", "\N{ARABIC-INDIC DIGIT ONE}%"]
)
def test_what_is_no_limit(text: str) -> None:
    """Anything else is refused with the forms that there are."""
    with pytest.raises(ValueError, match=r"^got '") as caught:
        parse_allowance(text)

    assert EXPECTED in str(caught.value)


@pytest.mark.parametrize("text", ["64MB", "1GB", "8 M", "1G"])
def test_units_that_mean_two_sizes(text: str) -> None:
    """MB and GB could be powers of ten or of two, so the message says what to write."""
    with pytest.raises(ValueError, match=r"; write KiB, MiB or GiB$"):
        parse_size(text)


def test_peaks_are_named() -> None:
    """Without a name a limit is one of the allocated peak; others have theirs before an equals sign."""
    parsed = [(one.peak, one.allowance.text) for one in parse_allowances("1%, device=5%+64MiB , reserved = 2%")]

    assert [("allocated", "1%"), ("device", "5%+64MiB"), ("reserved", "2%")] == parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("active=1%", "got a limit for 'active', expected one for allocated, reserved, device"),
        ("1%, allocated=2%", "got two limits for the allocated peak, expected one"),
        ("1%,", f"got '', {EXPECTED}"),
    ],
)
def test_peaks_that_are_misnamed(text: str, message: str) -> None:
    """An unknown name, a peak with two limits and an empty limit are refused."""
    with pytest.raises(ValueError, match=r"^got ") as caught:
        parse_allowances(text)

    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("10GB", 10 * GIB), ("1.5 GB", 3 * GIB // 2), ("10GiB", 10 * GIB), ("64MiB", 64 * MIB), ("1B", 1)]
)
def test_a_limit_may_be_in_the_gb_of_cards(text: str, size_bytes: int) -> None:
    """On a limit GB means GiB, as it does on cards; the other units are those of every size."""
    assert size_bytes == parse_limit(text)


@pytest.mark.parametrize("text", ["0", "0GB", "0.1B", "10MB", "10", "-1GB", ""])
def test_what_is_no_limit_of_a_peak(text: str) -> None:
    """Nothing, and sizes of another grammar, are refused with the forms that there are."""
    with pytest.raises(ValueError, match=r"^got '") as caught:
        parse_limit(text)

    assert EXPECTED_LIMIT in str(caught.value)
