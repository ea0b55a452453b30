"""The examples: green on an emulated card, as `make demo` runs them, and found by their reader."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_vramguard.recipes import load_recipe
from pytest_vramguard.units import GIB

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path(__file__).parents[1]
EXAMPLES: Final = ROOT / "examples"
TARGET: Final = "rtx3060"
"""One of the targets of `vram-emulated.yml`, which judges the examples on all of them."""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, Any]]:
    """Return the cases of one green run of the examples, by the name of their test."""
    report = tmp_path_factory.mktemp("examples") / "report.json"
    arguments = ("--vram-target", TARGET, "--vram-device", "emulated", "--vram-json", str(report), "-p", "no:cacheprovider")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "examples", *arguments],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr

    return {case["id"].partition("::")[2]: case for case in json.loads(report.read_text(encoding="utf-8"))["cases"]}


@pytest.mark.stack
@pytest.mark.long
def test_examples_pass(cases: Mapping[str, Mapping[str, Any]]) -> None:
    """Each example is judged; the one that is expected to fail does, and the run is green."""
    outcomes = {name: case["outcome"] for name, case in cases.items()}

    assert {
        "test_nf4_fits_with_checkpointing": "PASS",
        "test_nf4_without_checkpointing_uses_the_card_well": "PASS",
        "test_bf16_does_not_fit": "FAIL",
        "test_own_loop_leaves_room": "PASS",
        "test_own_trainer_fits": "PASS",
    } == outcomes


@pytest.mark.stack
@pytest.mark.long
def test_16_bit_weights_end_in_the_error_of_pytorch(cases: Mapping[str, Mapping[str, Any]]) -> None:
    """The reading of the example that does not fit 12 GB holds PyTorch's own words."""
    reading = cases["test_bf16_does_not_fit"]["reading"]

    assert reading["kind"] == "out_of_memory"
    assert reading["message"].startswith("CUDA out of memory. Tried to allocate ")
    assert "GPU 0 has a total capacity of 11.63 GiB" in reading["message"]


@pytest.mark.stack
@pytest.mark.long
def test_limits_of_the_examples_are_close(cases: Mapping[str, Mapping[str, Any]]) -> None:
    """A limit far above what is used would not see a change: the fit gate is passed with at most a fifth to spare."""
    verdicts = {name: case["verdicts"][0] for name, case in cases.items()}
    bounded = ("test_nf4_fits_with_checkpointing", "test_nf4_without_checkpointing_uses_the_card_well", "test_own_trainer_fits")
    spare = {name: 1 - verdicts[name]["observed"] / verdicts[name]["limit"] for name in bounded}

    assert {name: share for name, share in spare.items() if not 0 <= share <= 0.2} == {}


@pytest.mark.stack
@pytest.mark.long
def test_guide_of_the_readme_holds(cases: Mapping[str, Mapping[str, Any]]) -> None:
    """The README's table about cards has what the first example measures, within 2 % for other releases of the libraries."""
    (row,) = re.findall(r"^\| Llama-2-7B, nf4 \|(.*)\|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    told = [float(cell) for cell in row.split("|")][:3]
    reading = cases["test_nf4_fits_with_checkpointing"]["reading"]
    measured = (reading["parts"]["weights"], reading["parts"]["activations"], reading["peak_device_bytes"])

    assert told == pytest.approx([size_bytes / GIB for size_bytes in measured], rel=0.02)


@pytest.mark.parametrize("recipe", sorted(path.name for path in EXAMPLES.glob("recipes/*.toml")))
def test_recipe_is_sound(recipe: str) -> None:
    """Every recipe of the shelf loads, and its data is there."""
    path = load_recipe(EXAMPLES / "recipes" / recipe).data.path

    assert path is not None
    assert path.is_file()


def test_travel_rows_are_questions_with_answers() -> None:
    """The data holds at least 300 rows, no two with the same question, each with the two fields that a recipe reads."""
    rows = [json.loads(line) for line in (EXAMPLES / "data/travel.jsonl").read_text(encoding="utf-8").splitlines()]

    assert len({row["instruction"] for row in rows}) == len(rows) >= 300
    assert {frozenset(row) for row in rows} == {frozenset({"instruction", "output"})}


def test_every_example_is_on_the_shelf() -> None:
    """The README of the examples links each file beside it."""
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    files = [
        path.relative_to(EXAMPLES).as_posix() for pattern in ("*.py", "*.toml", "recipes/*") for path in EXAMPLES.glob(pattern)
    ]

    assert [name for name in files if f"({name})" not in text] == []
