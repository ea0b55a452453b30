"""Tests of sizes in words: one convention for all messages."""

from __future__ import annotations

import pytest

from pytest_vramguard.units import GIB, KIB, MIB, bytes_of_gib, exact_text, gib_text, share_text, size_text


def test_a_gib_is_two_to_the_thirty() -> None:
    """GB on markers and cards means GiB."""
    assert 1_073_741_824 == bytes_of_gib(1)


@pytest.mark.parametrize(("gib", "size_bytes"), [(12, 12_884_901_888), (0.5, 536_870_912), (0.1, 107_374_182)])
def test_gib_become_whole_bytes_rounded_down(gib: float, size_bytes: int) -> None:
    """A fraction of a byte is dropped, so that a limit is never larger than what was asked for."""
    assert size_bytes == bytes_of_gib(gib)


@pytest.mark.parametrize(("size_bytes", "text"), [(0, "0.00 GiB"), (12 * GIB, "12.00 GiB"), (-GIB // 2, "-0.50 GiB")])
def test_gib_text_has_two_decimals(size_bytes: int, text: str) -> None:
    """A size in GiB prints with two decimals, whatever its sign."""
    assert text == gib_text(size_bytes)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (KIB - 1, "1023 bytes"),
        (KIB, "1.0 KiB"),
        (MIB - 1, "1024.0 KiB"),
        (MIB, "1.0 MiB"),
        (8_519_680, "8.1 MiB"),
        (GIB - 1, "1024.0 MiB"),
        (GIB, "1.00 GiB"),
        (-3 * MIB, "-3.0 MiB"),
    ],
)
def test_size_text_takes_the_largest_unit_that_leaves_one(size_bytes: int, text: str) -> None:
    """The unit changes where the size reaches one of the next, never below."""
    assert text == size_text(size_bytes)


def test_exact_text_is_exact_and_readable() -> None:
    """A size in an error prints to the byte and in GiB."""
    assert "25769803776 bytes (24.00 GiB)" == exact_text(24 * GIB)


@pytest.mark.parametrize(("share", "text"), [(0.4567, "45.7 %"), (0, "0.0 %"), (1.02, "102.0 %")])
def test_share_text_is_in_percent(share: float, text: str) -> None:
    """A share of one prints in percent with one decimal."""
    assert text == share_text(share)
