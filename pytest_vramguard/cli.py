"""The door for the shell: the command `vramguard`, one function a subcommand. It parses, calls downward and prints."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pytest_vramguard import __version__
from pytest_vramguard.cards import load_catalogue
from pytest_vramguard.errors import VramguardError
from pytest_vramguard.render import cards as cards_text
from pytest_vramguard.settings import wishes_of_project

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `vramguard` with `arguments`, by default those of the process, and return its exit status.

    A `VramguardError` is printed on stderr and gives its `exit_code`. A wrong command line exits with that of a usage error.
    """
    options = _parser().parse_args(arguments)
    try:
        text: str = options.command(options)
    except VramguardError as fault:
        sys.stderr.write(f"vramguard: {fault}\n")
        return fault.exit_code
    sys.stdout.write(text)
    return 0


def list_cards(options: argparse.Namespace) -> str:
    """Return the catalogue: the built-in cards, those of `[tool.vramguard]` in this folder, and those of `--cards`.

    Raises:
        SettingsError: `[tool.vramguard]` is at fault.
        CatalogueError: a file with cards is at fault.
    """
    project_files = wishes_of_project(Path("pyproject.toml")).cards or ()
    catalogue = load_catalogue((*project_files, *options.cards))
    return cards_text.render_json(catalogue.cards) if options.json else cards_text.render(catalogue.cards)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and exit with the status of every other usage error."""

    def error(self, message: str) -> NoReturn:
        """Print `message` and where the usage is shown, and exit."""
        self.exit(VramguardError.exit_code, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> _Parser:
    parser = _Parser(prog="vramguard", description="GPU memory of training recipes, judged with or without a GPU.")
    parser.add_argument("--version", action="version", version=f"vramguard {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    cards = commands.add_parser("cards", help="list the cards that a test can be judged against")
    cards.add_argument("--json", action="store_true", help="print every field and its source as JSON")
    cards.add_argument("--cards", nargs="+", type=Path, default=[], metavar="FILE", help="TOML files with further cards")
    cards.set_defaults(command=list_cards)
    return parser


if __name__ == "__main__":
    sys.exit(main())
