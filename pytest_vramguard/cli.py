"""The door for the shell: the command `vramguard`, one function a subcommand. It parses, calls downward and prints."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from pytest_vramguard import __version__, baseline_commands
from pytest_vramguard.cards import load_catalogue
from pytest_vramguard.errors import SettingsError, VramguardError
from pytest_vramguard.reading import OutOfMemory
from pytest_vramguard.render import cards as cards_text
from pytest_vramguard.render import examination as examination_text
from pytest_vramguard.render import terminal
from pytest_vramguard.report import Report
from pytest_vramguard.report_file import write_report
from pytest_vramguard.run.ranks import ALL_RANKS, MOST_GPUS, Ranks, ranks_of_text
from pytest_vramguard.settings import LIMIT_KEYS, PROJECT_KEYS, resolve, wishes_of_mapping, wishes_of_project
from pytest_vramguard.statistics import FEWEST_PAIRS, MOST_ROUNDS

if TYPE_CHECKING:
    from collections.abc import Sequence

_RANKS_HELP: Final = "ranks of a distributed command that are run: all (default), auto (the first and the last), or as in 0,3"

_COMPARE: Final = "%(prog)s [options] BASE_REF [HEAD_REF] -- PYTEST_ARGUMENTS"
_ROUNDS_HELP: Final = f"most rounds of a comparison of step times, {FEWEST_PAIRS} or more (default: {MOST_ROUNDS})"

Answer: TypeAlias = tuple[str, int]
"""What a subcommand gives: the text to print, and the exit status."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `vramguard` with `arguments`, by default those of the process, and return its exit status.

    A `VramguardError` is printed on stderr and gives its `exit_code`. A wrong command line exits with that of a usage error.
    """
    options = _options(sys.argv[1:] if arguments is None else list(arguments))
    try:
        answer: Answer = options.command(options)
    except VramguardError as fault:
        sys.stderr.write(f"vramguard: {fault}\n")
        return fault.exit_code
    text, status = answer
    sys.stdout.write(text)
    return status


def list_cards(options: argparse.Namespace) -> Answer:
    """Return the catalogue: the built-in cards, those of `[tool.vramguard]` in this folder, and those of `--cards`.

    Raises:
        SettingsError: `[tool.vramguard]` is at fault.
        CatalogueError: a file with cards is at fault.
    """
    project_files = wishes_of_project(Path("pyproject.toml")).cards or ()
    catalogue = load_catalogue((*project_files, *options.cards))
    return cards_text.render_json(catalogue.cards) if options.json else cards_text.render(catalogue.cards), 0


def run(options: argparse.Namespace) -> Answer:
    """Run a command on an emulated card; return the report, and the command's own status if it failed for a reason of its own.

    Otherwise the status is 1 unless every process passed every gate.

    Raises:
        VramguardError: the card is unknown, the command does not exist, or cards cannot be emulated here.
    """
    from pytest_vramguard.run.launch import Node, run_command  # imports the device, which the other subcommands do without
    from pytest_vramguard.run.tree import INTERRUPTIONS, SIGNAL_STATUS

    project = wishes_of_project(Path("pyproject.toml"))
    asked = {name: getattr(options, name) for name in ("target", "json", "max_gb", "band", "artifacts")}
    wishes = wishes_of_mapping(asked, "command line: --", PROJECT_KEYS, Path.cwd())
    settings = resolve(wishes, project)
    if len(settings.targets) != 1:
        message = f"command line: --target: got {len(settings.targets)} cards, expected one, as in --target rtx3060"
        raise SettingsError(message)
    command = options.arguments[1:] if options.arguments[:1] == ["--"] else options.arguments
    if not command:
        message = "command line: no command, expected one behind two dashes, as in: vramguard run -- python train.py"
        raise SettingsError(message)
    card = load_catalogue(settings.cards).find(settings.targets[0])
    node = Node(card=card, gpus=options.gpus, ranks=options.ranks)
    cases, status = run_command(command, node, settings)
    report = Report(tool=f"pytest-vramguard {__version__}", cases=cases)
    if settings.json_path is not None:
        write_report(report, settings.json_path)
    passed = not any(case.is_red for case in cases)
    interrupted = status in {SIGNAL_STATUS + number for number in INTERRUPTIONS}
    full = any(isinstance(case.reading, OutOfMemory) for case in cases)
    accounts = [terminal.failure_text(case) + "\n\n" for case in cases if case.is_red]
    return "".join([*accounts, terminal.render(report)]), status if interrupted or (status and not full) else int(not passed)


def compare(options: argparse.Namespace) -> Answer:
    """Run two commits in turn and return what the gates say; the status is 1 if a gate failed, or could not judge what it must.

    Raises:
        VramguardError: a setting is wrong, or the commits cannot be compared.
    """
    from pytest_vramguard.compare.command import compare_commits  # imports what judges, which the others do without

    asked = {key: getattr(options, key) for key in LIMIT_KEYS}
    wishes = wishes_of_mapping(asked, "command line", LIMIT_KEYS, Path.cwd())
    return compare_commits((options.base, options.head), options.pytest_arguments, wishes, options.rounds)


def doctor(options: argparse.Namespace) -> Answer:
    """Say what this machine and its training stack allow; the status is 0 if a case can run on some device, else 4."""
    from pytest_vramguard.devices.examine import examine

    found = examine()
    text = examination_text.render_json(found) if options.json else examination_text.render(found)
    return text, 0 if found.usable else VramguardError.exit_code


def baseline(options: argparse.Namespace) -> Answer:
    """Do what one of the subcommands of `vramguard baseline` does, on the folder that `[tool.vramguard]` names.

    Raises:
        VramguardError: a setting, a baseline or a report is at fault.
    """
    wishes = wishes_of_project(Path("pyproject.toml"))
    folder: Path = options.baselines or resolve(wishes).baselines
    match options.action:
        case "list":
            return baseline_commands.list_all(folder)
        case "show":
            return baseline_commands.show(folder, options.name)
        case "diff":
            return baseline_commands.diff(folder, options.report)
        case "accept":
            return baseline_commands.accept_report(folder, options.report)
        case _:
            return baseline_commands.prune(folder, options.report, only_listed=options.dry_run)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and exit with the status of every other usage error."""

    def error(self, message: str) -> NoReturn:
        """Print `message` and where the usage is shown, and exit."""
        self.exit(VramguardError.exit_code, f"{self.prog}: {message}; see {self.prog} --help\n")


def _ranks(text: str) -> Ranks:
    """Return the choice of ranks that `text` names."""
    try:
        return ranks_of_text(text)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from fault


def _gpus(text: str) -> int:
    """Return the number of cards that `text` asks for."""
    if not text.isdecimal() or not 1 <= int(text) <= MOST_GPUS:
        message = f"got {text!r}, expected a whole number from 1 to {MOST_GPUS}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _rounds(text: str) -> int:
    """Return the number of rounds that `text` allows."""
    if not text.isdecimal() or int(text) < FEWEST_PAIRS:
        message = f"got {text!r}, expected a whole number from {FEWEST_PAIRS}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _options(arguments: list[str]) -> argparse.Namespace:
    """Return what the command line asks for; of a comparison what stands behind the first `--` is pytest's."""
    compares = arguments[:1] == ["compare"] and "--" in arguments
    cut = arguments.index("--") if compares else len(arguments)
    return _parser().parse_args(arguments[:cut], argparse.Namespace(pytest_arguments=arguments[cut + 1 :]))


def _parser() -> _Parser:
    parser = _Parser(prog="vramguard", description="GPU memory of training recipes, judged with or without a GPU.")
    parser.add_argument("--version", action="version", version=f"vramguard {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    cards = commands.add_parser("cards", help="list the cards that a test can be judged against")
    cards.add_argument("--json", action="store_true", help="print every field and its source as JSON")
    cards.add_argument("--cards", nargs="+", type=Path, default=[], metavar="FILE", help="TOML files with further cards")
    cards.set_defaults(command=list_cards)

    examination = commands.add_parser("doctor", help="say what this machine allows, and try a step on each device")
    examination.add_argument("--json", action="store_true", help="print what was found as JSON")
    examination.set_defaults(command=doctor)

    command = commands.add_parser("run", help="run any command on an emulated card and judge its peak memory")
    command.add_argument("--target", metavar="CARD", help="the card, as vramguard cards lists it")
    command.add_argument("--json", metavar="PATH", help="write the report as JSON to this path")
    command.add_argument("--max-gb", type=float, metavar="GIB", help="fail above this peak, besides the card itself")
    command.add_argument("--band", type=float, nargs=2, metavar=("LOW", "HIGH"), help="fail outside this share of the card")
    command.add_argument("--artifacts", metavar="DIR", help="leave a snapshot of each failed process for memory_viz here")
    command.add_argument("--gpus", type=_gpus, default=1, metavar="N", help="cards of the node that is emulated; default 1")
    command.add_argument("--ranks", type=_ranks, default=ALL_RANKS, metavar="RANKS", help=_RANKS_HELP)
    command.add_argument("arguments", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the command and its arguments")
    command.set_defaults(command=run)

    _add_compare(
        commands.add_parser("compare", help="run two commits in turn and judge what grew or got slower", usage=_COMPARE)
    )
    _add_baseline(commands.add_parser("baseline", help="list, show, accept and remove baselines"))
    return parser


def _add_compare(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `vramguard compare`."""
    parser.add_argument("base", metavar="BASE_REF", help="the former commit: a branch, a tag or a digest")
    parser.add_argument("head", metavar="HEAD_REF", nargs="?", default="HEAD", help="the newer one (default: HEAD)")
    parser.add_argument("--max-growth", metavar="LIMIT", help="as on the marker, for every test; where neither says: 1%%")
    parser.add_argument("--max-shrink", metavar="LIMIT", help="as on the marker, for every test")
    parser.add_argument("--max-slowdown", metavar="SHARE", help="as on the marker, for every test; where neither says: 5%%")
    parser.add_argument("--rounds", type=_rounds, default=MOST_ROUNDS, metavar="N", help=_ROUNDS_HELP)
    parser.set_defaults(command=compare)


def _add_baseline(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `vramguard baseline`."""
    parser.add_argument("--baselines", type=Path, metavar="FOLDER", help="where they are (default: that of the project)")
    parser.set_defaults(command=baseline)
    actions = parser.add_subparsers(metavar="ACTION", dest="action", required=True)
    actions.add_parser("list", help="one line for each baseline")
    actions.add_parser("show", help="all numbers of a baseline").add_argument("name", help="part of the id of its case")
    for name, text in (
        ("diff", "how a report differs from the baselines"),
        ("accept", "make the cases of a report the baselines"),
        ("prune", "remove the baselines of cases that a report of the whole suite does not have"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("report", type=Path, metavar="REPORT.json", help="what --vram-json wrote")
        if name == "prune":
            action.add_argument("--dry-run", action="store_true", help="only say what would be removed")


if __name__ == "__main__":
    sys.exit(main())
