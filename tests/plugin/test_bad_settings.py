"""Wrong options, ini values, keys and cards files: one located message, the status of a usage error, and no traceback."""

from __future__ import annotations

import pytest

from pytest_vramguard.settings import PROJECT_KEYS
from tests.plugin.projects import run_in

KEYS = ", ".join(PROJECT_KEYS)
CASE = "import pytest\n@pytest.mark.vram\ndef test_case(): pass\ndef test_plain(): pass\n"


@pytest.mark.parametrize(
    ("project", "message"),
    [
        ('targe = "t4"', f"pyproject.toml: tool.vramguard.targe: unknown key, expected one of {KEYS}; did you mean 'target'?"),
        ('steps = "3"', "pyproject.toml: tool.vramguard.steps: got '3' (str), expected an integer of at least 1"),
        ("steps = 0", "pyproject.toml: tool.vramguard.steps: got 0 (int), expected an integer of at least 1"),
        ("warmup = -1", "pyproject.toml: tool.vramguard.warmup: got -1 (int), expected an integer of at least 0"),
        ("target = 3060", "pyproject.toml: tool.vramguard.target: got 3060 (int), expected a list of strings"),
        ("max_gb = 0", "pyproject.toml: tool.vramguard.max_gb: got 0 (int), expected a number above 0"),
        (
            'device = "gpu"',
            "pyproject.toml: tool.vramguard.device: got 'gpu' (str), expected one of 'auto', 'cuda', 'emulated'",
        ),
    ],
)
def test_a_wrong_key_in_pyproject_is_a_usage_error(pytester: pytest.Pytester, project: str, message: str) -> None:
    """The message names the key and what was expected, whether or not there are vram tests."""
    pytester.makepyfile("def test_plain(): pass")
    pytester.makepyprojecttoml(f"[tool.vramguard]\n{project}")

    run = run_in(pytester)

    assert run.is_clean_usage_error
    assert [message] == run.usage_errors


def test_every_wrong_key_is_told_at_once(pytester: pytest.Pytester) -> None:
    """Nobody has to run pytest once for each mistake."""
    pytester.makepyprojecttoml("[tool.vramguard]\nsteps = 0\nwarmup = true")

    run = run_in(pytester)

    assert [
        "pyproject.toml: tool.vramguard.steps: got 0 (int), expected an integer of at least 1",
        "pyproject.toml: tool.vramguard.warmup: got True (bool), expected an integer of at least 0",
    ] == run.usage_errors


def test_a_table_in_another_spelling_is_read_too(pytester: pytest.Pytester) -> None:
    """TOML has more than one way to write the table, and none of them is silently passed over."""
    pytester.makepyprojecttoml("[tool]\nvramguard = { steps = 0 }")

    run = run_in(pytester)

    assert ["pyproject.toml: tool.vramguard.steps: got 0 (int), expected an integer of at least 1"] == run.usage_errors


def test_a_malformed_pyproject_is_a_usage_error(pytester: pytest.Pytester) -> None:
    """A file beside the ini file that pytest reads is refused with the place that the parser names."""
    pytester.makepyfile(CASE)
    pytester.makefile(".ini", pytest="[pytest]")
    pytester.makepyprojecttoml("[tool.vramguard\ntarget = 't4'")

    run = run_in(pytester)

    assert run.is_clean_usage_error
    assert 1 == len(run.usage_errors)
    assert "pyproject.toml: " in run.usage_errors[0]
    assert "at line 1, column 16" in run.usage_errors[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--vram-steps", "0"), "command line: --vram: steps: got 0 (int), expected an integer of at least 1"),
        (("--vram-warmup", "-1"), "command line: --vram: warmup: got -1 (int), expected an integer of at least 0"),
        (("--vram-target", ""), "command line: --vram: target: got '' (str), expected a non-empty string"),
    ],
)
def test_a_wrong_option_is_a_usage_error(pytester: pytest.Pytester, arguments: tuple[str, ...], message: str) -> None:
    """Values are checked before anything is collected."""
    pytester.makepyfile("def test_plain(): pass")

    run = run_in(pytester, *arguments)

    assert run.is_clean_usage_error
    assert [message] == run.usage_errors


def test_a_folder_of_artifacts_that_cannot_be_written_is_a_usage_error(pytester: pytest.Pytester) -> None:
    """Before anything runs it is told that a failure would leave nothing."""
    pytester.makepyfile("def test_plain(): pass")
    pytester.makefile(".txt", left="")

    run = run_in(pytester, "--vram-artifacts", "left.txt")

    assert run.is_clean_usage_error
    assert [
        f"{pytester.path / 'left.txt'}: File exists, expected to write artifacts there; name another folder"
    ] == run.usage_errors


def test_an_option_that_is_no_number_is_refused_by_pytest(pytester: pytest.Pytester) -> None:
    """What pytest's own parser can see is told in its words."""
    pytester.makepyfile("def test_plain(): pass")

    run = run_in(pytester, "--vram-steps", "many")

    assert run.is_clean_usage_error
    run.result.stderr.fnmatch_lines("*error: argument --vram-steps: invalid int value: 'many'")


def test_a_wrong_ini_value_is_a_usage_error(pytester: pytest.Pytester) -> None:
    """Numbers of an ini file are checked like those of other places."""
    pytester.makepyfile("def test_plain(): pass")
    pytester.makefile(".ini", pytest="[pytest]\nvram_steps = many")

    run = run_in(pytester)

    assert run.is_clean_usage_error
    assert ["ini: vram: steps: got 'many' (str), expected an integer of at least 1"] == run.usage_errors


def test_an_unknown_target_on_the_command_line_is_a_usage_error(pytester: pytest.Pytester) -> None:
    """The message lists the catalogue and the nearest card, before anything is collected."""
    pytester.makepyfile("def test_plain(): pass")

    run = run_in(pytester, "--vram-target", "rtx306")

    assert run.is_clean_usage_error
    run.result.stderr.fnmatch_lines("ERROR: card 'rtx306': not in the catalogue, expected one of *; did you mean 'rtx3060'?")


@pytest.mark.parametrize("ini", ["vram_target = rtx306", ""], ids=["ini", "pyproject"])
def test_an_unknown_target_in_a_file_is_told_of_the_tests_that_want_it(pytester: pytest.Pytester, ini: str) -> None:
    """A project's own fault stops nobody who runs other tests, and names the vram tests that it stops."""
    pytester.makepyfile(test_a=CASE)
    pytester.makefile(".ini", pytest=f"[pytest]\n{ini}")
    pytester.makepyprojecttoml('[tool.vramguard]\ntarget = "rtx306"')

    run = run_in(pytester)
    other = run_in(pytester, "-k", "plain")

    assert run.is_clean_usage_error
    assert run.usage_errors[0].startswith("test_a.py::test_case: card 'rtx306': not in the catalogue, expected one of ")
    assert {"passed": 1, "deselected": 1} == other.result.parseoutcomes()


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        (None, "{path}: cannot be read: No such file or directory, expected a UTF-8 text file"),
        ("[[cards", "{path}: malformed: Expected ']]' at the end of an array declaration (at end of document)"),
        (
            "[[card]]\nkey = 'mine'",
            "{path}: card: unknown key, expected one of architectures, cards; did you mean 'cards'?",
        ),
    ],
    ids=["missing", "malformed", "unknown key"],
)
def test_a_wrong_cards_file_is_a_usage_error(pytester: pytest.Pytester, cards: str | None, message: str) -> None:
    """The message names the file of cards that the project added."""
    pytester.makepyfile(test_a=CASE)
    pytester.makepyprojecttoml('[tool.vramguard]\ntarget = "t4"\ncards = ["mine.toml"]')
    if cards is not None:
        pytester.makefile(".toml", mine=cards)

    run = run_in(pytester)

    assert run.is_clean_usage_error
    assert f"test_a.py::test_case: {message.format(path=pytester.path / 'mine.toml')}" == run.usage_errors[0]


def test_a_case_without_any_target_is_a_usage_error(pytester: pytest.Pytester) -> None:
    """A test that is to be gated and has no card to be judged against is red, and says how to name one."""
    pytester.makepyfile(test_a="import pytest\n@pytest.mark.vram\ndef test_case(): pass\ndef test_measuring(vram): pass")

    run = run_in(pytester)

    assert run.is_clean_usage_error
    assert {"errors": 2} == run.result.parseoutcomes()
    for name in ("test_case", "test_measuring"):
        expected = f"test_a.py::{name}: no target card, expected one; name it: pytest --vram-target rtx3060"
        assert [expected] == run.failure_of(name)
