"""Wrong recipes and data: located messages and the status of a usage error, whatever the test expects."""

from __future__ import annotations

import pytest

from tests.plugin.projects import ON_RTX3060, Run, run_once

pytestmark = pytest.mark.stack

RECIPE = """
[model]
pretrained_model_name_or_path = "gpt2"

[training]
per_device_train_batch_size = 1

[data]
path = "{data}.jsonl"
"""
MODULE = """
import pytest


def test_missing_recipe(vram):
    vram.train("nowhere.toml")


@pytest.mark.xfail
def test_missing_recipe_though_expected_to_fail(vram):
    vram.train("nowhere.toml")


@pytest.fixture
def trained(vram):
    vram.train("nowhere.toml")


def test_missing_recipe_in_a_fixture(trained):
    pass


def test_malformed_recipe(vram):
    vram.train("malformed.toml")


def test_unknown_table(vram):
    vram.train("unknown.toml")


def test_missing_data(vram):
    vram.train("missing_data.toml")


def test_empty_data(vram):
    vram.train("empty_data.toml")


def test_incomplete_data(vram):
    vram.train("incomplete_data.toml")
"""
NOT_FOUND = "nowhere.toml: not found in {folder}; correct the path"
MESSAGES = {
    "test_missing_recipe": NOT_FOUND,
    "test_missing_recipe_though_expected_to_fail": NOT_FOUND,
    "test_missing_recipe_in_a_fixture": NOT_FOUND,
    "test_malformed_recipe": (
        "{folder}/malformed.toml: malformed: Expected ']' at the end of a table declaration (at line 1, column 7)"
    ),
    "test_unknown_table": (
        "{folder}/unknown.toml: modell: unknown key, "
        "expected one of model, quantization, peft, training, data, eval_data, generation, merge, distributed; "
        "did you mean 'model'?"
    ),
    "test_missing_data": "{folder}/missing.jsonl: cannot be read: No such file or directory, expected a UTF-8 text file",
    "test_empty_data": (
        "{folder}/empty.jsonl: empty, expected a JSON object on each line, with instruction and output, or with messages"
    ),
    "test_incomplete_data": "{folder}/incomplete.jsonl:2: output: missing, expected a non-empty string",
}
"""What is said of each test; `folder` is that of the project."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of tests that each train something wrong."""
    files = {
        "test_recipes.py": MODULE,
        "malformed.toml": "[model\n",
        "unknown.toml": RECIPE.format(data="complete").replace("[training]", "[modell]\n[training]"),
        "missing_data.toml": RECIPE.format(data="missing"),
        "empty_data.toml": RECIPE.format(data="empty"),
        "incomplete_data.toml": RECIPE.format(data="incomplete"),
        "complete.jsonl": '{"instruction": "Where to?", "output": "Rome."}\n',
        "empty.jsonl": "\n",
        "incomplete.jsonl": '{"instruction": "Where to?", "output": "Rome."}\n{"instruction": "When?"}\n',
    }
    return run_once(tmp_path_factory.mktemp("recipes"), files, "-rA", *ON_RTX3060)


def test_the_run_ends_as_a_usage_error(run: Run) -> None:
    """No test passes, nothing prints a traceback, and the status is that of a usage error."""
    assert run.is_clean_usage_error
    assert {"failed": 7, "errors": 1} == run.result.parseoutcomes()


@pytest.mark.parametrize("name", MESSAGES)
def test_the_failure_is_the_message_alone(run: Run, name: str) -> None:
    """Pytest prints where the fault is, what was found, and what was expected."""
    assert MESSAGES[name].format(folder=run.folder).splitlines() == run.failure_of(name)


@pytest.mark.parametrize("name", MESSAGES)
def test_the_case_is_not_judged(run: Run, name: str) -> None:
    """The report holds the same message as the reason."""
    reason = f"the test ended with RecipeError: {MESSAGES[name].format(folder=run.folder)}"

    assert "UNJUDGED" == run.verdicts[name]
    assert {"kind": "not_measured", "reason": reason} == run.cases[name]["reading"]
