"""Tests of reading whole files: what is there comes out as tables, and whatever is wrong with a file is located in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_vramguard.errors import RecipeError, SettingsError
from pytest_vramguard.tables import reading

if TYPE_CHECKING:
    from pathlib import Path


class TestReading:
    """Files are read whole, and their faults raised together."""

    def test_a_toml_file_is_read(self, tmp_path: Path) -> None:
        """The root table of a TOML file is handed to the block."""
        path = tmp_path / "recipe.toml"
        path.write_text("[training]\nmax_steps = 3\n", encoding="utf-8")

        with reading(path, RecipeError) as root:
            assert 3 == root.table("training").integer("max_steps")

    def test_a_json_file_is_read(self, tmp_path: Path) -> None:
        """A file that ends in `.json` is read as JSON."""
        path = tmp_path / "recipe.json"
        path.write_text('{"max_steps": 3}', encoding="utf-8")

        with reading(path, RecipeError) as root:
            assert 3 == root.integer("max_steps")

    def test_all_faults_are_raised_together_with_the_error_of_choice(self, tmp_path: Path) -> None:
        """One error of the asked-for class holds every fault, one a line, in the order of reading."""
        path = tmp_path / "recipe.toml"
        path.write_text("steps = 0\nrate = true\n", encoding="utf-8")

        with pytest.raises(SettingsError) as raised, reading(path, SettingsError, name="r.toml") as root:  # noqa: PT012 (3 faults)
            root.integer("steps", minimum=1)
            root.number("rate")
            root.string("model")

        assert [
            "r.toml: steps: got 0 (int), expected an integer of at least 1",
            "r.toml: rate: got True (bool), expected a number",
            "r.toml: model: missing, expected a non-empty string",
        ] == str(raised.value).splitlines()

    def test_a_file_is_called_by_its_path_unless_named(self, tmp_path: Path) -> None:
        """Without a name, errors print the path as it was given."""
        path = tmp_path / "recipe.toml"
        path.write_text("", encoding="utf-8")

        with pytest.raises(RecipeError) as raised, reading(path, RecipeError) as root:
            root.string("model")

        assert f"{path}: model: missing, expected a non-empty string" == str(raised.value)

    def test_malformed_toml_gives_line_and_column(self, tmp_path: Path) -> None:
        """A file that is no TOML gives one error with the parser's line and column."""
        path = tmp_path / "recipe.toml"
        path.write_text("[training]\nmax_steps 3\n", encoding="utf-8")

        with pytest.raises(RecipeError) as raised, reading(path, RecipeError, name="recipe.toml"):
            pass

        message = "recipe.toml: malformed: Expected '=' after a key in a key/value pair (at line 2, column 11)"
        assert message == str(raised.value)

    def test_malformed_json_gives_line_and_column(self, tmp_path: Path) -> None:
        """A file that is no JSON gives one error with the parser's line and column."""
        path = tmp_path / "recipe.json"
        path.write_text('{"steps": }', encoding="utf-8")

        with pytest.raises(RecipeError) as raised, reading(path, RecipeError, name="recipe.json"):
            pass

        assert "recipe.json: malformed: Expecting value: line 1 column 11 (char 10)" == str(raised.value)

    def test_a_json_file_must_hold_an_object(self, tmp_path: Path) -> None:
        """A list at the root of a JSON file is refused."""
        path = tmp_path / "recipe.json"
        path.write_text("[1]", encoding="utf-8")

        with pytest.raises(RecipeError) as raised, reading(path, RecipeError, name="recipe.json"):
            pass

        assert "recipe.json: got a list, expected a table of keys" == str(raised.value)

    def test_a_document_too_deep_for_the_parser_is_malformed(self, tmp_path: Path) -> None:
        """A file that exhausts the parser's recursion is an error of the file, not a crash."""
        path = tmp_path / "recipe.json"
        path.write_text("[" * 200_000, encoding="utf-8")

        with pytest.raises(RecipeError, match=r"^recipe\.json: malformed: "), reading(path, RecipeError, name="recipe.json"):
            pass

    def test_a_missing_file_is_one_error(self, tmp_path: Path) -> None:
        """A file that is not there gives the system's reason."""
        path = tmp_path / "none.toml"

        with pytest.raises(RecipeError) as raised, reading(path, RecipeError):
            pass

        assert f"{path}: cannot be read: No such file or directory, expected a UTF-8 text file" == str(raised.value)

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        """A folder in place of a file gives the system's reason."""
        with pytest.raises(RecipeError) as raised, reading(tmp_path, RecipeError):
            pass

        assert f"{tmp_path}: cannot be read: Is a directory, expected a UTF-8 text file" == str(raised.value)

    def test_a_file_that_is_not_utf8_is_one_error(self, tmp_path: Path) -> None:
        """Bytes that are not UTF-8 are refused with their position."""
        path = tmp_path / "recipe.toml"
        path.write_bytes(b'name = "\xff"')

        with pytest.raises(RecipeError) as raised, reading(path, RecipeError, name="recipe.toml"):
            pass

        assert (
            "recipe.toml: cannot be read: 'utf-8' codec can't decode byte 0xff in position 8: invalid start byte, "
            "expected a UTF-8 text file"
        ) == str(raised.value)
