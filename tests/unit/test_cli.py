"""The command `vramguard`: what it prints, where, and with which exit status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_vramguard import __version__
from pytest_vramguard.cards import load_catalogue
from pytest_vramguard.cli import main
from pytest_vramguard.render import cards as cards_text

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder in which the command is started."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keys_printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the keys of the cards that were printed as JSON."""
    return [card["key"] for card in json.loads(capsys.readouterr().out)["cards"]]


def write_override(path: Path, **fields: str) -> None:
    """Write a file that gives the RTX 3060 other values."""
    lines = "".join(f"{name} = {value!r}\n" for name, value in fields.items())
    path.write_text(f'[[cards]]\nkey = "rtx3060"\n{lines}', encoding="utf-8")


@pytest.mark.usefixtures("folder")
def test_cards_prints_the_built_in_catalogue_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Without options `vramguard cards` prints every built-in card."""
    status = main(["cards"])

    assert (0, (cards_text.render(load_catalogue().cards), "")) == (status, capsys.readouterr())


@pytest.mark.usefixtures("folder")
def test_cards_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    """With `--json` it prints the same cards for programs."""
    status = main(["cards", "--json"])

    assert status == 0
    assert [card.key for card in load_catalogue().cards] == keys_printed(capsys)


def test_cards_of_a_file_lie_over_the_built_in_ones(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file named with `--cards` changes the fields that it gives."""
    write_override(folder / "ours.toml", name="Our RTX 3060")

    main(["cards", "--cards", "ours.toml"])

    assert "Our RTX 3060" in capsys.readouterr().out


def test_cards_of_the_project_are_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The files that `[tool.vramguard]` of the folder names are read too."""
    write_override(folder / "ours.toml", name="Our RTX 3060")
    (folder / "pyproject.toml").write_text('[tool.vramguard]\ncards = ["ours.toml"]\n', encoding="utf-8")

    main(["cards"])

    assert "Our RTX 3060" in capsys.readouterr().out


def test_cards_of_the_command_line_lie_over_those_of_the_project(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where both name the same field, `--cards` wins."""
    write_override(folder / "project.toml", name="from the project")
    write_override(folder / "ours.toml", name="from the command line")
    (folder / "pyproject.toml").write_text('[tool.vramguard]\ncards = ["project.toml"]\n', encoding="utf-8")

    main(["cards", "--cards", "ours.toml"])

    assert "from the command line" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_fault_in_a_file_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """An error of the catalogue goes to stderr, without a traceback, and its exit code is that of a usage error."""
    status = main(["cards", "--cards", "missing.toml"])

    line = "vramguard: missing.toml: cannot be read: No such file or directory, expected a UTF-8 text file\n"
    assert (4, ("", line)) == (status, capsys.readouterr())


def test_fault_in_the_settings_of_the_project_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown key of `[tool.vramguard]` ends the command, as it ends a run of pytest."""
    (folder / "pyproject.toml").write_text("[tool.vramguard]\ncard = []\n", encoding="utf-8")

    status = main(["cards"])

    assert status == 4
    assert "vramguard: pyproject.toml: tool.vramguard.card: unknown key" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "vramguard: the following arguments are required: COMMAND; see vramguard --help\n"),
        (["cards", "--color"], "vramguard: unrecognized arguments: --color; see vramguard --help\n"),
        (
            ["cards", "--cards"],
            "vramguard cards: argument --cards: expected at least one argument; see vramguard cards --help\n",
        ),
    ],
)
def test_wrong_command_line_is_one_line_on_stderr(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong command line exits with 4, as pytest does, and says where to read on."""
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)

    assert (4, ("", line)) == (exit_info.value.code, capsys.readouterr())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`vramguard --version` prints the version of the package."""
    with pytest.raises(SystemExit) as exit_info:
        main(["--version"])

    assert (0, f"vramguard {__version__}\n") == (exit_info.value.code, capsys.readouterr().out)
