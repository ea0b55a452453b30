"""Tests of the built-in cards: all that are promised are there, plausible, with public sources, and found by name."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields

import pytest

from pytest_vramguard.cards import Card, Catalogue, load_catalogue
from pytest_vramguard.cards.catalogue import DTYPES
from pytest_vramguard.errors import CatalogueError
from pytest_vramguard.units import GIB, MIB

BUILT_IN = load_catalogue()

ARCHITECTURES = {
    (7, 0): "Volta",
    (7, 5): "Turing",
    (8, 0): "Ampere",
    (8, 6): "Ampere",
    (8, 9): "Ada Lovelace",
    (9, 0): "Hopper",
    (12, 0): "Blackwell",
}

PROMISED = (
    "rtx2060-super",
    "rtx2080ti",
    "rtx3060",
    "rtx3060-laptop",
    "rtx3070",
    "rtx3080",
    "rtx3090",
    "rtx3090ti",
    "rtx4060ti-16",
    "rtx4060ti-8",
    "rtx4070",
    "rtx4070ti",
    "rtx4070ti-super",
    "rtx4080",
    "rtx4080-super",
    "rtx4090",
    "rtx5070ti",
    "rtx5080",
    "rtx5090",
    "t4",
    "l4",
    "a10g",
    "v100-16",
    "v100-32",
    "a100-40",
    "a100-80",
    "a6000",
    "rtx6000-ada",
    "l40s",
    "h100-80",
    "h200",
)
"""The keys that users may rely on."""

every_card = pytest.mark.parametrize("card", BUILT_IN.cards, ids=lambda card: card.key)


class TestBuiltIn:
    """What must hold for each card that we ship."""

    @pytest.mark.parametrize(
        "key",
        PROMISED,
    )
    def test_a_promised_card_is_there(self, key: str) -> None:
        """Each card that the README names can be found by its key."""
        assert key == BUILT_IN.find(key).key

    @every_card
    def test_every_field_has_a_source_of_its_own(self, card: Card) -> None:
        """No field goes without a word on where it comes from, least of all a number."""
        optional = ("usable_bytes_older_driver", "usable_bytes_windows", "price_usd", "peer_access", "nccl_channels")
        without = {"key", "sources", *(name for name in optional if not getattr(card, name))}

        assert {field.name for field in fields(Card)} - without == set(card.sources)
        assert [] == [name for name, source in card.sources.items() if source.startswith("given in")]

    @every_card
    def test_usable_memory_is_a_little_less_than_nominal(self, card: Card) -> None:
        """A driver keeps at most a seventh of the card for itself, error correction included."""
        assert 6 / 7 * card.nominal_gib * GIB < card.usable_bytes < card.nominal_gib * GIB

    @every_card
    def test_older_drivers_and_windows_leave_no_less(self, card: Card) -> None:
        """The usable memory is the smallest known value."""
        assert card.usable_bytes <= (card.usable_bytes_older_driver or card.usable_bytes)
        assert card.usable_bytes <= (card.usable_bytes_windows or card.usable_bytes) <= card.nominal_gib * GIB

    @every_card
    def test_a_context_is_between_fifty_mib_and_one_gib(self, card: Card) -> None:
        """Published overheads of one process lie between 0.08 and 0.75 GiB."""
        assert 50 * MIB < card.context_bytes < GIB

    @every_card
    def test_the_architecture_fits_the_compute_capability(self, card: Card) -> None:
        """A compute capability belongs to one generation."""
        assert ARCHITECTURES[card.compute_capability] == card.architecture

    @every_card
    def test_bandwidth_follows_from_clock_and_bus(self, card: Card) -> None:
        """Two bits a clock on each line of the bus make the published bandwidth; that of HBM is rounded down by up to 3 %."""
        computed = 2 * card.memory_clock_hz * card.memory_bus_bits / 8

        assert computed == pytest.approx(card.memory_bandwidth_bytes_per_second, rel=0.03)

    @every_card
    def test_rates_are_powers_of_two_for_each_multiprocessor_and_clock(self, card: Card) -> None:
        """Hardware does a power of two of operations; published rates differ by rounding, by 8 % on Hopper."""
        for rate in card.dense_flops_per_second.values():
            operations = rate / card.sm_count / card.boost_clock_hz
            power = min((2**exponent for exponent in range(7, 14)), key=lambda power: abs(power - operations))

            assert operations == pytest.approx(power, rel=0.08)

    @every_card
    def test_dtypes_fit_the_generation(self, card: Card) -> None:
        """bf16 and tf32 came with 8.0, fp8 with 8.9; int8 tensor cores with 7.5."""
        assert {"fp32", "fp16"} <= set(card.dense_flops_per_second) <= set(DTYPES)
        for dtype, first in {"bf16": (8, 0), "tf32": (8, 0), "fp8": (8, 9), "int8": (7, 5)}.items():
            assert (card.compute_capability >= first) == (dtype in card.dense_flops_per_second)

    @every_card
    def test_a_block_fits_on_a_multiprocessor(self, card: Card) -> None:
        """A block can have all shared memory but what the driver reserves, and 1,024 threads."""
        assert 0 <= card.shared_memory_per_sm_bytes - card.shared_memory_per_block_optin_bytes <= 1024
        assert card.max_threads_per_sm >= 1024

    def test_the_rtx_3060_is_what_a_current_driver_reports(self) -> None:
        """The numbers that the first slice stands on, spelt out once."""
        card = BUILT_IN.find("rtx3060")

        assert "NVIDIA GeForce RTX 3060" == card.name
        assert 11_906 * MIB == card.usable_bytes
        assert 12_045 * MIB == card.usable_bytes_older_driver
        assert 12_288 * MIB == card.usable_bytes_windows
        assert int(0.10 * GIB) == card.context_bytes
        assert ((8, 6), 28, 3 * MIB, 102_400, 101_376, 1536, 16) == (
            card.compute_capability,
            card.sm_count,
            card.l2_bytes,
            card.shared_memory_per_sm_bytes,
            card.shared_memory_per_block_optin_bytes,
            card.max_threads_per_sm,
            card.max_blocks_per_sm,
        )


class TestFind:
    """A card is found by what people call it."""

    @pytest.mark.parametrize(
        ("name", "key"),
        [
            ("rtx3060", "rtx3060"),
            ("RTX3060", "rtx3060"),
            ("rtx-3060", "rtx3060"),
            ("RTX 3060", "rtx3060"),
            ("3060", "rtx3060"),
            ("NVIDIA GeForce RTX 3060", "rtx3060"),
            ("nvidia geforce rtx 3060 laptop gpu", "rtx3060-laptop"),
            ("4060 Ti 16GB", "rtx4060ti-16"),
            ("h100", "h100-80"),
            ("NVIDIA H100 80GB HBM3", "h100-80"),
            ("a100-80", "a100-80"),
            ("A100 80GB", "a100-80"),
            ("RTX A6000", "a6000"),
            ("Tesla T4", "t4"),
        ],
    )
    def test_natural_names_find_the_card(self, name: str, key: str) -> None:
        """Case, spaces, hyphens and underscores do not matter, and the driver's name will do."""
        assert key == BUILT_IN.find(name).key

    def test_an_unknown_name_lists_the_keys_and_the_nearest(self) -> None:
        """A misspelt card is answered with all keys and a guess."""
        catalogue = Catalogue(cards=(BUILT_IN.find("rtx3060"), BUILT_IN.find("t4")))

        with pytest.raises(CatalogueError) as raised:
            catalogue.find("RTX3061")

        message = "card 'RTX3061': not in the catalogue, expected one of rtx3060, t4; did you mean 'rtx3060'?"
        assert message == str(raised.value)

    def test_an_unknown_name_unlike_any_other_says_how_to_add_it(self) -> None:
        """Where nothing is near, the card may be new: the message says where to describe it."""
        catalogue = Catalogue(cards=(BUILT_IN.find("rtx3060"), BUILT_IN.find("t4")))

        with pytest.raises(CatalogueError) as raised:
            catalogue.find("gaudi")

        message = (
            "card 'gaudi': not in the catalogue, expected one of rtx3060, t4; "
            "describe it in a TOML file named in [tool.vramguard] cards"
        )
        assert message == str(raised.value)


def test_the_data_file_is_read_only_when_asked_for() -> None:
    """Importing the package of cards opens no file of data and loads no parser."""
    code = (
        "import sys; opened = []; import pytest_vramguard.tables;"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None);"
        "import pytest_vramguard.cards as cards; at_import = [name for name in opened if name.endswith('.toml')];"
        "cards.load_catalogue(); print(at_import, [name.rpartition('/')[2] for name in opened if name.endswith('.toml')])"
    )

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert "[] ['cards.toml']\n" == printed


@every_card
def test_no_source_names_a_place_on_a_machine(card: Card) -> None:
    """Sources are public: none holds a path of a file system."""
    assert [] == [source for source in card.sources.values() if re.search(r"(^|\s)/\w", source)]
