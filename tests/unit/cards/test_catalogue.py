"""Tests of the catalogue: users' files are laid over the built-in ones, faults are located."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_vramguard.cards import load_catalogue
from pytest_vramguard.cards.catalogue import DTYPES
from pytest_vramguard.errors import CatalogueError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BUILT_IN = load_catalogue()

CAPABILITIES = "'sm_70', 'sm_75', 'sm_80', 'sm_86', 'sm_89', 'sm_90', 'sm_120'"

MINE = """
[[cards]]
key = "mine"
name = "NVIDIA Mine"
capability = "sm_89"
nominal_gib = 20
usable_bytes = 20_000_000_000
context_bytes = 200_000_000
sm_count = 100
l2_bytes = 50_000_000
memory_bus_bits = 320
memory_bandwidth_bytes_per_second = 800e9
boost_clock_hz = 2_000_000_000
memory_clock_hz = 10_000_000_000
dense_flops_per_second = { fp32 = 50e12, bf16 = 100e12 }
ecc = false
"""
"""A complete card that is not built in."""


@pytest.fixture
def toml(tmp_path: Path) -> Callable[..., Path]:
    """Return a writer of TOML files, which hands back the path of what it wrote."""

    def write(text: str, name: str = "mine.toml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def message_of(path: Path) -> str:
    """Return the text of the error that loading `path` raises, without the path at the start of each line."""
    with pytest.raises(CatalogueError) as raised:
        load_catalogue([path])
    lines = str(raised.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return "\n".join(line.removeprefix(f"{path}: ") for line in lines)


class TestUserFiles:
    """Files of users add cards and override fields."""

    def test_a_new_card_comes_after_the_built_in_ones(self, toml: Callable[..., Path]) -> None:
        """A user's card is added at the end and found by its key."""
        catalogue = load_catalogue([toml(MINE)])

        assert [*(card.key for card in BUILT_IN.cards), "mine"] == [card.key for card in catalogue.cards]
        assert 20_000_000_000 == catalogue.find("mine").usable_bytes

    def test_a_new_card_takes_over_the_facts_of_a_built_in_architecture(self, toml: Callable[..., Path]) -> None:
        """Naming a capability is enough to have its limits, with their source."""
        card = load_catalogue([toml(MINE)]).find("mine")

        assert ((8, 9), "Ada Lovelace", 101_376) == (
            card.compute_capability,
            card.architecture,
            card.shared_memory_per_block_optin_bytes,
        )
        assert BUILT_IN.find("rtx4090").sources["max_threads_per_sm"] == card.sources["max_threads_per_sm"]

    def test_a_file_can_bring_its_own_architecture(self, toml: Callable[..., Path]) -> None:
        """A compute capability that is not built in is described once and shared."""
        architecture = """
[architectures.sm_100]
architecture = "Blackwell"
compute_capability = [10, 0]
shared_memory_per_sm_bytes = 233_472
shared_memory_per_block_optin_bytes = 232_448
max_threads_per_sm = 2048
max_blocks_per_sm = 32
"""
        path = toml(architecture + MINE.replace("sm_89", "sm_100"))

        card = load_catalogue([path]).find("mine")

        assert (10, 0) == card.compute_capability
        assert f"given in {path}" == card.sources["compute_capability"]

    def test_a_field_of_its_own_goes_before_that_of_the_architecture(self, toml: Callable[..., Path]) -> None:
        """A card may differ from its generation."""
        path = toml(MINE + "max_blocks_per_sm = 8\n")

        assert 8 == load_catalogue([path]).find("mine").max_blocks_per_sm

    def test_an_override_changes_only_what_it_gives(self, toml: Callable[..., Path]) -> None:
        """A table with the key of a built-in card leaves all other fields as they were."""
        path = toml('[[cards]]\nkey = "rtx3060"\nusable_bytes = 12_000_000_000\n')

        card = load_catalogue([path]).find("rtx3060")

        before = BUILT_IN.find("rtx3060")
        sources = {**before.sources, "usable_bytes": f"given in {path}"}
        assert replace(before, usable_bytes=12_000_000_000, sources=sources) == card

    def test_an_override_keeps_the_place_of_the_card(self, toml: Callable[..., Path]) -> None:
        """The order of the catalogue does not depend on who described a card last."""
        path = toml('[[cards]]\nkey = "rtx3060"\nusable_bytes = 12_000_000_000\n')

        assert [card.key for card in BUILT_IN.cards] == [card.key for card in load_catalogue([path]).cards]

    def test_a_later_file_goes_over_an_earlier_one(self, toml: Callable[..., Path]) -> None:
        """Files are laid over each other in the order in which they are named."""
        first = toml(MINE + 'aliases = ["first"]\n', "first.toml")
        second = toml('[[cards]]\nkey = "mine"\naliases = ["second"]\n', "second.toml")

        card = load_catalogue([first, second]).find("second")

        assert ("mine", ("second",), f"given in {second}", f"given in {first}") == (
            card.key,
            card.aliases,
            card.sources["aliases"],
            card.sources["sm_count"],
        )

    def test_sources_are_taken_by_field_or_for_the_rest(self, toml: Callable[..., Path]) -> None:
        """A field has its own source, else that of `"*"`."""
        path = toml(MINE + '[cards.sources]\n"*" = "data sheet"\nusable_bytes = "measured"\n')

        sources = load_catalogue([path]).find("mine").sources

        assert ("measured", "data sheet") == (sources["usable_bytes"], sources["sm_count"])

    def test_a_source_can_be_mended_without_its_field(self, toml: Callable[..., Path]) -> None:
        """An override may name a better source for a number that stays."""
        path = toml('[[cards]]\nkey = "t4"\n[cards.sources]\nsm_count = "counted"\n')

        assert "counted" == load_catalogue([path]).find("t4").sources["sm_count"]

    def test_optional_numbers_may_be_left_out(self, toml: Callable[..., Path]) -> None:
        """Price, older drivers and Windows are None where nobody knows them."""
        card = load_catalogue([toml(MINE)]).find("mine")

        assert (None, None, None, ()) == (
            card.price_usd,
            card.usable_bytes_older_driver,
            card.usable_bytes_windows,
            card.aliases,
        )

    def test_an_empty_file_changes_nothing(self, toml: Callable[..., Path]) -> None:
        """A file without cards is allowed."""
        assert BUILT_IN == load_catalogue([toml("")])


class TestFaults:
    """Every fault of a file is located, and all are raised at once."""

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("usable_bytes = 24.0", "cards[0].usable_bytes: got 24.0 (float), expected an integer of at least 1"),
            ("usable_bytes = 0", "cards[0].usable_bytes: got 0 (int), expected an integer of at least 1"),
            ("usable_bytes = -1", "cards[0].usable_bytes: got -1 (int), expected an integer of at least 1"),
            ("context_bytes = 0", "cards[0].context_bytes: got 0 (int), expected an integer of at least 1"),
            ("sm_count = true", "cards[0].sm_count: got True (bool), expected an integer of at least 1"),
            ("price_usd = 0", "cards[0].price_usd: got 0 (int), expected an integer of at least 1"),
            (
                "memory_bandwidth_bytes_per_second = -1.5",
                "cards[0].memory_bandwidth_bytes_per_second: got -1.5 (float), expected a number above 0",
            ),
            ('ecc = "yes"', "cards[0].ecc: got 'yes' (str), expected true or false"),
            ('name = ""', "cards[0].name: got '' (str), expected a non-empty string"),
            ("aliases = [3060]", "cards[0].aliases[0]: got 3060 (int), expected a non-empty string"),
            ("compute_capability = [8]", "cards[0].compute_capability: got [8] (list), expected a list of 2 integers"),
            (
                "dense_flops_per_second = { fp17 = 1e12 }",
                f"cards[0].dense_flops_per_second.fp17: unknown key, expected one of {', '.join(DTYPES)}; did you mean 'fp16'?",
            ),
            (
                "capability = 'sm_88'",
                f"cards[0].capability: got 'sm_88' (str), expected one of {CAPABILITIES}",
            ),
            (
                "usable_bytes = 12_884_901_889",
                "cards[0].usable_bytes: got 12884901889 bytes (12.00 GiB), expected at most 12 GiB",
            ),
            (
                "context_bytes = 12_484_345_856",
                "cards[0].context_bytes: got 12484345856 bytes (11.63 GiB), expected less than usable_bytes",
            ),
        ],
    )
    def test_a_wrong_value_is_located(self, toml: Callable[..., Path], line: str, message: str) -> None:
        """An override with a wrong value is refused with its place in the user's file."""
        assert message == message_of(toml(f'[[cards]]\nkey = "rtx3060"\n{line}\n'))

    @pytest.mark.parametrize("line", ["usable_bytes = 12_884_901_888", "context_bytes = 12_484_345_855"])
    def test_a_size_at_its_bound_is_allowed(self, toml: Callable[..., Path], line: str) -> None:
        """A card may be usable to its last byte, and its context may leave one byte."""
        path = toml(f'[[cards]]\nkey = "rtx3060"\n{line}\n')

        assert len(BUILT_IN.cards) == len(load_catalogue([path]).cards)

    def test_all_faults_of_a_file_are_raised_together(self, toml: Callable[..., Path]) -> None:
        """A user mends a file in one go."""
        text = '[[cards]]\nkey = "t4"\nsm_count = 0\nl2_bytes = "4 MB"\n[[cards]]\nkey = "l4"\necc = 1\n'

        assert message_of(toml(text)).splitlines() == [
            "cards[0].sm_count: got 0 (int), expected an integer of at least 1",
            "cards[0].l2_bytes: got '4 MB' (str), expected an integer of at least 1",
            "cards[1].ecc: got 1 (int), expected true or false",
        ]

    def test_a_new_card_must_be_complete(self, toml: Callable[..., Path]) -> None:
        """Each missing field of a card without a built-in base is named."""
        text = MINE.replace("sm_count = 100\n", "").replace('capability = "sm_89"\n', "")

        assert message_of(toml(text)).splitlines() == [
            "cards[0].compute_capability: missing, expected a list of 2 integers",
            "cards[0].architecture: missing, expected a non-empty string",
            "cards[0].sm_count: missing, expected an integer of at least 1",
            "cards[0].shared_memory_per_sm_bytes: missing, expected an integer of at least 1",
            "cards[0].shared_memory_per_block_optin_bytes: missing, expected an integer of at least 1",
            "cards[0].max_threads_per_sm: missing, expected an integer of at least 1",
            "cards[0].max_blocks_per_sm: missing, expected an integer of at least 1",
        ]

    def test_an_unknown_field_is_answered_with_the_nearest(self, toml: Callable[..., Path]) -> None:
        """A misspelt field of a card is refused, not ignored."""
        message = message_of(toml('[[cards]]\nkey = "t4"\nusable_byte = 1\n'))

        assert message.startswith("cards[0].usable_byte: unknown key, expected one of key, name, nominal_gib, usable_bytes, ")
        assert message.endswith(", capability; did you mean 'usable_bytes'?")

    def test_a_source_of_an_unknown_field_is_refused(self, toml: Callable[..., Path]) -> None:
        """A source must belong to a field."""
        message = message_of(toml('[[cards]]\nkey = "t4"\n[cards.sources]\nsm_counts = "x"\n'))

        assert message.startswith("cards[0].sources.sm_counts: unknown key, expected one of key, name, ")
        assert message.endswith(", *; did you mean 'sm_count'?")

    def test_an_unknown_table_is_refused(self, toml: Callable[..., Path]) -> None:
        """A misspelt table at the root is not silently without effect."""
        message = "card: unknown key, expected one of architectures, cards; did you mean 'cards'?"

        assert message == message_of(toml('[[card]]\nkey = "t4"\n'))

    def test_a_card_without_a_key_is_refused(self, toml: Callable[..., Path]) -> None:
        """A card must say which one it is."""
        message = "cards[0].key: missing, expected a non-empty string"

        assert message == message_of(toml(MINE.replace('key = "mine"\n', "")))

    def test_a_card_described_twice_in_a_file_is_refused(self, toml: Callable[..., Path]) -> None:
        """One file says one thing about a card."""
        message = "cards[1].key: got 't4', which cards[0] has already, expected one table for a card"

        assert message == message_of(toml('[[cards]]\nkey = "t4"\n[[cards]]\nkey = "t4"\n'))

    def test_a_name_of_another_card_is_refused(self, toml: Callable[..., Path]) -> None:
        """A name that could mean two cards means none."""
        message = "cards: 'RTX-3060' names 'rtx3060' and 'mine', expected names that only one card has"

        assert message == message_of(toml(MINE + 'aliases = ["RTX-3060"]\n'))

    def test_an_incomplete_architecture_is_located(self, toml: Callable[..., Path]) -> None:
        """A fault of an architecture is reported there, and not again for each of its cards."""
        text = """
[architectures.sm_100]
architecture = "Blackwell"
compute_capability = [10, 0]
shared_memory_per_sm_bytes = 233_472
shared_memory_per_block_optin_bytes = 232_448
max_threads_per_sm = 2048
"""

        message = "architectures.sm_100.max_blocks_per_sm: missing, expected an integer of at least 1"
        assert message == message_of(toml(text))

    def test_a_missing_file_is_one_error(self, tmp_path: Path) -> None:
        """A file that is not there is named with the system's reason."""
        message = "cannot be read: No such file or directory, expected a UTF-8 text file"

        assert message == message_of(tmp_path / "none.toml")

    def test_malformed_toml_gives_line_and_column(self, toml: Callable[..., Path]) -> None:
        """A file that is no TOML is named with line and column."""
        message = "malformed: Invalid value (at line 2, column 7)"

        assert message == message_of(toml("[[cards]]\nkey = ?\n"))
