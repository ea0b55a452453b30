"""The README: every block runs or is read by what it is written for, and every table says what the code says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_vramguard import cli, report_table
from pytest_vramguard.cards import load_catalogue
from pytest_vramguard.errors import VramguardError
from pytest_vramguard.plugin.options import OPTIONS
from pytest_vramguard.recipes import load_recipe
from pytest_vramguard.settings import JOB_SPREAD, MARKER_KEYS, PROJECT_KEYS, Settings, wishes_of_project
from tests import samples

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[1]
TEXT: Final = (ROOT / "README.md").read_text(encoding="utf-8")
ELISION: Final = "..."
"""A line of a console block that stands for any number of lines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A fenced block."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that its first line names, if it does."""
        named = re.match(r"# (\S+\.(?:py|toml))\n", self.text)
        return named[1] if named else None


BLOCKS: Final = tuple(
    Block(language=found[1], text=found[2]) for found in re.finditer(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
)


def blocks(language: str) -> list[Block]:
    """Return the blocks of one language."""
    return [block for block in BLOCKS if block.language == language]


def section_under(heading: str) -> str:
    """Return the text between a heading of the second level and the next one."""
    return TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def table_under(heading: str) -> list[list[str]]:
    """Return the rows of the first table under a heading, without backticks."""
    section = section_under(heading)
    lines = section[section.index("\n|") :].strip().split("\n\n")[0].splitlines()
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds every file of the README, pyproject.toml aside."""
    folder = tmp_path_factory.mktemp("readme")
    for block in BLOCKS:
        if block.file is not None and block.file != "pyproject.toml":
            path = folder / block.file
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def printed(project: Path) -> list[str]:
    """Return the lines of one run of the README's tests on the emulated card, in a terminal of 100 characters."""
    tests = ("test_vram.py", "test_red.py", "test_own_loop.py")
    options = ("--vram-target", "rtx3060", "--vram-device", "emulated", "-p", "no:cacheprovider", "-rA")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *tests, *options],
        cwd=project,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    return [*run.stdout.splitlines(), *run.stderr.splitlines()]


def scrubbed(line: str) -> str:
    """Return a line without its numbers, which differ from one release of the libraries to the next, and its alignment."""
    return " ".join(re.sub(r"\d+(\.\d+)?", "#", line).split())


def missing_lines(shown: list[str], printed: list[str]) -> Iterator[str]:
    """Yield the lines of a console block that do not follow each other in what was printed."""
    rest = iter([scrubbed(line) for line in printed])
    for line in shown:
        if line != ELISION and scrubbed(line) not in rest:
            yield line


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    """No block escapes the tests of this file by its language."""
    assert {"console", "json", "python", "sh", "toml", "yaml"} == {block.language for block in BLOCKS}


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.file)
def test_python_compiles(block: Block) -> None:
    """Every Python block is valid, also the one that stands on somebody's own code."""
    compile(block.text, str(block.file), "exec")


@pytest.mark.stack
@pytest.mark.parametrize("block", blocks("console"), ids=["green", "red"])
def test_console_shows_what_is_printed(block: Block, printed: list[str]) -> None:
    """The lines of a console block are printed in their order, whatever the numbers."""
    command, *shown = block.text.splitlines()

    assert re.fullmatch(r"\$ pytest test_\w+\.py --vram-target rtx3060", command)
    assert list(missing_lines(shown, printed)) == [], "\n".join(printed)


@pytest.mark.stack
def test_tests_of_the_readme_end_as_told(printed: list[str]) -> None:
    """The first test passes, the one without checkpointing fails, and the loop passes."""
    outcomes = [tuple(line.split()[:2]) for line in printed if line.startswith(("PASSED ", "FAILED "))]

    assert {
        ("PASSED", "test_vram.py::test_llama2_7b_fits"),
        ("FAILED", "test_red.py::test_without_checkpointing"),
        ("PASSED", "test_own_loop.py::test_own_loop_fits"),
    } == set(outcomes)


def test_recipe_loads(project: Path) -> None:
    """The recipe of the README is sound, and the smallest there is: every one of its tables is filled."""
    recipe = load_recipe(project / "recipes/llama2-7b-qlora.toml")

    assert {"model", "quantization", "peft", "training", "data"} == set(recipe.tables)


def test_card_file_loads(project: Path) -> None:
    """The card of the README lies over the built-in one."""
    cards = load_catalogue((project / "our-cards.toml",))

    assert cards.find("rtx3060").usable_bytes == 12_348_030_976


def test_project_settings_are_read(tmp_path: Path) -> None:
    """Every key in the example of `[tool.vramguard]` is a setting."""
    (block,) = (block for block in blocks("toml") if block.file == "pyproject.toml")
    (tmp_path / "pyproject.toml").write_text(block.text, encoding="utf-8")

    wishes = wishes_of_project(tmp_path / "pyproject.toml")

    assert (("rtx3060", "t4"), tmp_path / "vram-report.json") == (wishes.targets, wishes.json_path)


def test_commands_exist() -> None:
    """Every option of pytest, verb of make and extra in the README is there, and no option of pytest is left out."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    assert set(re.findall(r"--vram-(\w+)", TEXT)) == set(OPTIONS)
    assert [verb for verb in re.findall(r"`make (\w+)`", TEXT) if f"\n{verb}:" not in makefile] == []
    assert [extra for extra in re.findall(r"'\.\[(\w+)\]'", TEXT) if f"\n{extra} = [" not in pyproject] == []


@pytest.mark.parametrize("command", re.findall(r"^vramguard (.+)$", TEXT, re.MULTILINE))
def test_vramguard_understands(command: str) -> None:
    """Every `vramguard` command in the README is one that its parser takes."""
    assert callable(cli._options(command.split()).command)


def test_workflow_steps_are_those_of_the_workflow() -> None:
    """The steps in the README stand in the workflow that it links."""
    workflow = (ROOT / ".github/workflows/vram-emulated.yml").read_text(encoding="utf-8")

    assert [line for block in blocks("yaml") for line in block.text.splitlines() if line not in workflow] == []


def keys_beyond(shown: Any, real: Any, path: str = "") -> list[str]:
    """Return the paths of keys that `shown` has and `real` has not; of a list the first items are compared."""
    if isinstance(shown, list):
        return keys_beyond(shown[0], real[0], f"{path}[0]")
    if not isinstance(shown, dict):
        return []
    strange = [f"{path}.{key}" for key in shown if key not in real]
    return strange + [deep for key in shown if key in real for deep in keys_beyond(shown[key], real[key], f"{path}.{key}")]


def test_report_has_the_keys_that_are_shown() -> None:
    """The JSON block is a report with keys left out, and none of its own."""
    (block,) = blocks("json")

    assert keys_beyond(json.loads(block.text), report_table.report_to_table(samples.report())) == []


def test_settings_table_is_complete() -> None:
    """The table of settings has every argument, option and key, each in the column of the place that takes it."""
    rows = table_under("Settings")

    assert set(MARKER_KEYS) == {row[0] for row in rows} - {""}
    assert {f"--vram-{name}" for name in OPTIONS} == {row[1] for row in rows} - {""}
    assert set(PROJECT_KEYS) == {row[2] for row in rows} - {""}


def test_defaults_are_those_of_the_settings() -> None:
    """The column of defaults says what holds when nobody asks for anything."""
    defaults = Settings()
    fields = {"target": "targets", "json": "json_path", "max_creep": "max_creep_bytes"}
    real = {key: getattr(defaults, fields.get(key, key)) for key in PROJECT_KEYS} | {"job_spread": f"{JOB_SPREAD:.0%}"}

    assert {key: str(value or "none") for key, value in real.items()} == {
        row[2]: row[3] for row in table_under("Settings") if row[2]
    }


def test_every_error_has_a_heading() -> None:
    """The section about errors has one heading for each kind, and its exit status is in the table."""
    errors = [error for error in VramguardError.__subclasses__() if error.__module__.startswith("pytest_vramguard.")]
    headings = re.findall(r"^### (.+)$", section_under("When it stops"), re.MULTILINE)
    statuses = {row[0] for row in table_under("When it stops")}

    assert sorted(error.slug for error in errors) == sorted(headings)
    assert {str(error.exit_code) for error in errors} <= statuses


def test_links_lead_somewhere() -> None:
    """Every link into the repository names a file that is there."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)

    assert [link for link in links if not (ROOT / link).exists()] == []


def test_cards_of_the_guide_are_in_the_catalogue() -> None:
    """The guide's columns are the targets of the command that makes it."""
    section = section_under("Which model for which card")
    (targets,) = re.findall(r"pytest examples/which_card\.py --vram-target (\S+)", section)
    catalogue = load_catalogue()

    assert [catalogue.find(target).key for target in targets.split(",")] == re.findall(r"`([\w-]+)` \(", section)
