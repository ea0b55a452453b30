"""The version of the machine code that a kernel says it was built for."""

from __future__ import annotations

import ctypes
import itertools
import struct

import pytest

from tests.contract.native.libraries import SUCCESS, Libraries, card_text

WRAPPER_MAGIC, HEADER_MAGIC = 0x466243B1, 0xBA55ED50
PTX, MACHINE_CODE = 1, 2
TORCH = tuple((MACHINE_CODE, version) for version in (75, 80, 86, 90, 120))

addresses = itertools.count(1 << 40, 16)
kept: list[object] = []
"""What the library points to, which lives as long as the process in a real program too."""


def entry(kind: int, version: int, *, header_bytes: int = 64) -> bytes:
    """Return code of a kind for a version of cards, a few bytes of it."""
    return struct.pack("<HHIQ3II", kind, 0x101, header_bytes, header_bytes and 24, 0, 0, 0, version).ljust(64 + 24, b"\0")


def wrapped(entries: bytes, *, magic: int = WRAPPER_MAGIC, header_magic: int = HEADER_MAGIC) -> int:
    """Return the address of the wrapper of a binary."""
    data = ctypes.create_string_buffer(struct.pack("<IHHQ", header_magic, 1, 16, len(entries)) + entries)
    wrapper = ctypes.create_string_buffer(struct.pack("<iiQQ", magic, 1, ctypes.addressof(data), 0))
    kept.extend((data, wrapper))
    return ctypes.addressof(wrapper)


def register(cards: Libraries, wrapper: int, function: int) -> None:
    """Do what a library does when it is loaded."""
    register_binary = cards.runtime["__cudaRegisterFatBinary"]
    register_binary.restype = ctypes.c_void_p
    handle = register_binary(ctypes.c_void_p(wrapper))
    nothing = (ctypes.c_void_p(),) * 5
    cards.runtime["__cudaRegisterFunction"](
        ctypes.c_void_p(handle), ctypes.c_void_p(function), b"device", b"name", -1, *nothing
    )


def versions(cards: Libraries, function: int) -> tuple[int, int]:
    """Return for which PTX and which binary version the function was built."""
    attributes = (ctypes.c_int * 64)()
    assert SUCCESS == cards.call("cudaFuncGetAttributes", ctypes.addressof(attributes), function)
    return attributes[8], attributes[9]


@pytest.mark.parametrize(
    ("entries", "card", "expected"),
    [
        (TORCH, (8, 6), 86),
        (TORCH, (8, 9), 86),
        (TORCH, (8, 0), 80),
        (TORCH, (12, 1), 120),
        ((*TORCH, (MACHINE_CODE, 89)), (8, 9), 89),
        (((PTX, 80),), (8, 9), 80),
        (((PTX, 90), (MACHINE_CODE, 80)), (8, 6), 80),
        (((PTX, 90), (MACHINE_CODE, 80)), (12, 0), 90),
        (((MACHINE_CODE, 90),), (8, 6), 86),
        (((0x40, 80),), (8, 6), 86),
        ((), (8, 6), 86),
    ],
    ids=str,
)
def test_the_newest_code_that_the_card_runs(
    cards: Libraries, entries: tuple[tuple[int, int], ...], card: tuple[int, int], expected: int
) -> None:
    """Machine code of the same major comes first, PTX otherwise; where there is none, it is taken to be the card's own."""
    assert cards.place(card_text(major=card[0], minor=card[1])) is None
    function = next(addresses)

    register(cards, wrapped(b"".join(entry(*code) for code in entries)), function)

    assert (expected, expected) == versions(cards, function)


@pytest.mark.parametrize("damaged", ["magic", "header_magic"])
def test_an_unknown_form_is_not_read(cards: Libraries, damaged: str) -> None:
    """A binary that does not begin as all do is taken to be built for the card."""
    function = next(addresses)

    register(cards, wrapped(entry(MACHINE_CODE, 80), **{damaged: 7}), function)

    assert (86, 86) == versions(cards, function)


def test_an_entry_without_a_size_ends_the_search(cards: Libraries) -> None:
    """What stands behind it cannot be found, and it is not read for ever."""
    function = next(addresses)

    register(cards, wrapped(entry(MACHINE_CODE, 80, header_bytes=0) + entry(MACHINE_CODE, 86)), function)

    assert (80, 80) == versions(cards, function)


def test_the_newest_registration_of_an_address_counts(cards: Libraries) -> None:
    """What is loaded where another library was is found with its own binary, among thousands of others."""
    function = next(addresses)
    register(cards, wrapped(entry(MACHINE_CODE, 80)), function)
    others = wrapped(entry(MACHINE_CODE, 80))
    for _ in range(3000):
        register(cards, others, next(addresses))

    register(cards, wrapped(entry(MACHINE_CODE, 80) + entry(MACHINE_CODE, 86)), function)

    assert (86, 86) == versions(cards, function)


def test_a_function_that_nobody_registered_is_built_for_the_card(cards: Libraries) -> None:
    """Code that is compiled while a program runs, as Triton's, has the version of the card."""
    assert (86, 86) == versions(cards, next(addresses))
