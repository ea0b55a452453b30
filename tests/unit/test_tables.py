"""Tests of the readers: typed values out, and every fault located, collected and raised at once."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_vramguard.errors import CatalogueError
from pytest_vramguard.tables import Table, checking, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable


def table_of(**values: object) -> Table:
    """Return a table over `values`, as if it were the table `training` of `a.toml`."""
    return Table(mapping=values, source="a.toml", path="training")


class TestGoodValues:
    """What a getter returns when there is nothing to complain of."""

    @pytest.mark.parametrize(
        ("value", "read"),
        [
            (3, lambda table: table.integer("key")),
            (0.5, lambda table: table.number("key")),
            (3, lambda table: table.number("key")),
            (True, lambda table: table.boolean("key")),
            ("nf4", lambda table: table.string("key")),
            ("nf4", lambda table: table.choice("key", ["nf4", "fp4"])),
        ],
    )
    def test_a_value_of_the_right_type_is_returned_as_it_is(self, value: object, read: Callable[[Table], object]) -> None:
        """A getter returns the value under its key and notes nothing."""
        table = table_of(key=value)

        assert value == read(table)
        assert [] == table.faults

    @pytest.mark.parametrize(
        ("values", "read"),
        [
            (["q", "v"], lambda table: table.strings("key")),
            ([8, 6], lambda table: table.integers("key", count=2)),
            ([0.7, 1], lambda table: table.numbers("key", count=2)),
            ([], lambda table: table.strings("key")),
        ],
    )
    def test_a_list_becomes_a_tuple(self, values: list[object], read: Callable[[Table], object]) -> None:
        """A getter of a list returns its items in order, as a tuple."""
        table = table_of(key=values)

        assert tuple(values) == read(table)
        assert [] == table.faults

    @pytest.mark.parametrize(
        "read",
        [
            lambda table: table.integer("key", default=None, minimum=1),
            lambda table: table.number("key", default=None, above=0),
            lambda table: table.boolean("key", default=None),
            lambda table: table.string("key", default=None),
            lambda table: table.choice("key", ["a"], default=None),
            lambda table: table.strings("key", default=None),
            lambda table: table.integers("key", default=None),
            lambda table: table.numbers("key", default=None, count=2),
        ],
    )
    def test_an_absent_key_gives_the_default(self, read: Callable[[Table], object]) -> None:
        """A getter with a default returns it unchecked when the key is absent."""
        table = table_of()

        assert read(table) is None
        assert [] == table.faults

    def test_null_counts_as_absent(self) -> None:
        """A `null` of a JSON file gives the default."""
        assert 7 == table_of(key=None).integer("key", default=7)

    @pytest.mark.parametrize(("value", "faults"), [(0, 1), (1, 0), (2, 0)])
    def test_the_minimum_of_an_integer_is_allowed(self, value: int, faults: int) -> None:
        """An integer may equal its minimum but not be below it."""
        table = table_of(steps=value)

        table.integer("steps", minimum=1)

        assert faults == len(table.faults)

    @pytest.mark.parametrize(("value", "faults"), [(-1, 1), (0, 1), (1e-9, 0)])
    def test_a_number_must_be_above_its_bound(self, value: float, faults: int) -> None:
        """A number may not equal the bound that it is to be above."""
        table = table_of(max_gb=value)

        table.number("max_gb", above=0)

        assert faults == len(table.faults)


class TestFaults:
    """What a fault says and what the getter returns with it."""

    @pytest.mark.parametrize(
        ("value", "read", "message"),
        [
            (24.0, lambda table: table.integer("key"), "got 24.0 (float), expected an integer"),
            (True, lambda table: table.integer("key"), "got True (bool), expected an integer"),
            (0, lambda table: table.integer("key", minimum=1), "got 0 (int), expected an integer of at least 1"),
            ("3", lambda table: table.number("key"), "got '3' (str), expected a number"),
            (False, lambda table: table.number("key"), "got False (bool), expected a number"),
            (float("nan"), lambda table: table.number("key"), "got nan (float), expected a number"),
            (float("inf"), lambda table: table.number("key"), "got inf (float), expected a number"),
            (0, lambda table: table.number("key", above=0), "got 0 (int), expected a number above 0"),
            (1, lambda table: table.boolean("key"), "got 1 (int), expected true or false"),
            (4, lambda table: table.string("key"), "got 4 (int), expected a non-empty string"),
            ("", lambda table: table.string("key"), "got '' (str), expected a non-empty string"),
            ("fp5", lambda table: table.choice("key", ["nf4", "fp4"]), "got 'fp5' (str), expected one of 'nf4', 'fp4'"),
            ("q", lambda table: table.strings("key"), "got 'q' (str), expected a list of strings"),
            ([1], lambda table: table.numbers("key", count=2), "got [1] (list), expected a list of 2 numbers"),
            (5, lambda table: table.table("key"), "got 5 (int), expected a table"),
            ({}, lambda table: table.tables("key"), "got {} (dict), expected a list of tables"),
            (None, lambda table: table.integer("key"), "missing, expected an integer"),
            (None, lambda table: table.strings("key"), "missing, expected a list of strings"),
            (None, lambda table: table.table("key"), "missing, expected a table"),
        ],
    )
    def test_a_fault_says_place_found_and_expected(self, value: object, read: Callable[[Table], object], message: str) -> None:
        """A fault names file and path of keys, what was found with its type, and what was expected."""
        table = table_of(key=value)

        read(table)

        assert [f"a.toml: training.key: {message}"] == table.faults

    def test_a_number_that_no_float_can_hold_is_a_fault(self) -> None:
        """An integer of any length is valid TOML, but not a number to reckon with."""
        table = table_of(key=10**400)

        assert 0.0 == table.number("key")
        assert 1 == len(table.faults)

    def test_each_faulty_item_of_a_list_has_its_place(self) -> None:
        """Faulty items are named by their index, and a blank stands in their place."""
        table = table_of(key=["q", 1, "", "v"])

        assert ("q", "", "", "v") == table.strings("key")
        assert [
            "a.toml: training.key[1]: got 1 (int), expected a non-empty string",
            "a.toml: training.key[2]: got '' (str), expected a non-empty string",
        ] == table.faults

    def test_a_list_of_wrong_length_becomes_blanks_of_the_right_length(self) -> None:
        """The caller may unpack a list with a count, whatever was in the file."""
        major, minor = table_of(key=[8]).integers("key", count=2)

        assert (0, 0) == (major, minor)

    def test_a_faulty_table_is_reported_once(self) -> None:
        """The keys of a table that is none are not reported on top of it."""
        table = table_of(key="text")

        table.table("key").integer("steps")

        assert ["a.toml: training.key: got 'text' (str), expected a table"] == table.faults

    def test_an_unknown_key_lists_the_known_ones_and_the_nearest(self) -> None:
        """A misspelt key is refused with what could have been meant."""
        table = table_of(max_step=3, bf16=True)

        table.refuse_unknown(["max_steps", "bf16"])

        assert [
            "a.toml: training.max_step: unknown key, expected one of max_steps, bf16; did you mean 'max_steps'?"
        ] == table.faults

    def test_an_unknown_key_without_a_near_one_lists_the_known_ones(self) -> None:
        """Nothing is guessed where no known key is near."""
        table = table_of(zebra=3)

        table.refuse_unknown(["max_steps", "bf16"])

        assert ["a.toml: training.zebra: unknown key, expected one of max_steps, bf16"] == table.faults

    def test_a_caller_can_add_a_fault_of_its_own(self) -> None:
        """A rule that only the caller knows is reported in the same form, beside the others."""
        table = table_of(band=[0.9, 0.7])

        table.fault("band", "got [0.9, 0.7], expected the lower end first")

        assert ["a.toml: training.band: got [0.9, 0.7], expected the lower end first"] == table.faults


class TestPlaces:
    """Tables inside tables know where they are."""

    def test_a_nested_place_prints_as_a_path(self) -> None:
        """Tables, arrays of tables and lists all add to the path."""
        with (
            pytest.raises(CatalogueError) as raised,
            checking({"cards": [{}, {"rates": {"fp16": "x"}}]}, "cards.toml", CatalogueError) as root,
        ):
            root.tables("cards")[1].table("rates").number("fp16")

        assert "cards.toml: cards[1].rates.fp16: got 'x' (str), expected a number" == str(raised.value)

    def test_a_key_that_is_not_bare_is_quoted(self) -> None:
        """A key with a dot or a space is quoted, so that the path can be read."""
        table = Table(mapping={"a.b c": 1}, source="a.toml")

        table.string("a.b c")

        assert ["a.toml: 'a.b c': got 1 (int), expected a non-empty string"] == table.faults

    def test_an_optional_table_is_empty_when_absent(self) -> None:
        """A table that need not be there reads as one without keys."""
        table = table_of()

        assert {} == table.table("peft", required=False).mapping
        assert () == table.tables("cards", required=False)
        assert [] == table.faults


def test_did_you_mean_names_the_nearest_word() -> None:
    """The nearest known word is offered, ready to follow a message."""
    assert "; did you mean 'rtx3060'?" == did_you_mean("rtx306", ["rtx3060", "t4"])


def test_did_you_mean_is_silent_where_nothing_is_near() -> None:
    """Nothing is offered for a word unlike all known ones."""
    assert "" == did_you_mean("zebra", ["rtx3060", "t4"])


def test_parsers_are_imported_only_when_needed() -> None:
    """Importing the readers loads neither a parser nor the search for near words."""
    code = (
        "import sys; before = set(sys.modules); import pytest_vramguard.tables;"
        "print(sorted({'tomllib', 'tomli', 'json', 'difflib'} & (set(sys.modules) - before)))"
    )

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert "[]\n" == printed
