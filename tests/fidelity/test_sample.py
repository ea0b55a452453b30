"""A change that moves a number is seen: two of the published runs with today's versions, and the report made of its results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fidelity import fits, lengths, report
from tests.fidelity.__main__ import files_of, plans_of
from tests.fidelity.rows import NotRebuilt

HERE: Final = Path(__file__).parent
RECORDED: Final[dict[str, Any]] = json.loads((HERE / "sample.json").read_text(encoding="utf-8"))
OTHER_RELEASE: Final = 0.03
"""How far another release of torch than the recorded one may be away: its allocations are its own."""


@pytest.mark.stack
@pytest.mark.parametrize("name", RECORDED["runs"])
def test_published_run_keeps_its_number(name: str, tmp_path: Path) -> None:
    """The bytes reserved and allocated are those recorded; to the byte with the recorded release of torch."""
    recorded = RECORDED["runs"][name]
    order, answer = tmp_path / "order.json", tmp_path / "answer.json"
    order.write_text(json.dumps(recorded["order"]), encoding="utf-8")
    command = [sys.executable, "-W", "ignore", str(HERE / "runs/child.py"), str(order), str(answer)]

    subprocess.run(command, cwd=HERE.parents[1], env={**_environment()}, check=True)

    found = json.loads(answer.read_text(encoding="utf-8"))
    tolerance = 0.0 if found["versions"]["torch"] == RECORDED["torch"] else OTHER_RELEASE
    assert pytest.approx(recorded["counted"], rel=tolerance, abs=0) == found["counted"]


def _environment() -> dict[str, str]:
    """Return the variables of a child process that finds this package."""
    import os

    return {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "HF_HUB_OFFLINE": "1"}


def test_report_is_that_of_the_results() -> None:
    """FIDELITY.md, its picture and the table in the README are generated from the committed results, and not edited."""
    assert 0 == report.main(["--check"])


def test_known_tokens_come_out() -> None:
    """The lengths add up to the tokens that every run of the comparison reports, but for one in a thousand."""
    stream = lengths.stream()

    assert lengths.TOKENS / lengths.STEPS == pytest.approx(stream.tokens_per_step, rel=1e-3)
    assert lengths.STEPS == len(stream.steps)


def test_least_squares_finds_a_line() -> None:
    """Values on a line give the line."""
    assert [3.0, 2.0] == pytest.approx(fits.least_squares([[1.0, x] for x in (0.0, 1.0, 5.0)], [3.0, 5.0, 13.0]))


def test_lines_are_prolonged() -> None:
    """Beyond the outer points the nearest line goes on."""
    points = [(0.0, 0.0), (1.0, 1.0), (2.0, 3.0)]

    assert [-1.0, 0.5, 2.0, 5.0] == [fits.line_through(points, place) for place in (-1.0, 0.5, 1.5, 3.0)]


def test_percentile_lies_between_two_values() -> None:
    """A percentile is taken between the two values around it."""
    assert 1.5 == fits.percentile([2.0, 1.0], 50)


def test_median_ranks_lie_where_half_of_all_draws_do() -> None:
    """The largest of ten draws is below its rank in half of all cases, by 0.5 to the power of 1/10."""
    ranks = fits.median_ranks(10)

    assert 0.5 ** (1 / 10) == pytest.approx(ranks[-1], abs=1e-3)
    assert 1 - 0.5 ** (1 / 10) == pytest.approx(ranks[0], abs=1e-3)
    assert [0.5] == fits.median_ranks(1)


def test_unreadable_row_is_listed(tmp_path: Path) -> None:
    """A row that lacks what the others of its file have is listed with the reason, and stops no other."""
    file = tmp_path / "peft_metamathqa_more.jsonl"
    file.write_text('{"experiment": "lora/odd"}\n', encoding="utf-8")

    (plan,) = plans_of(file)

    assert ("lora/odd", NotRebuilt(reason="the row could not be read: KeyError: 'metrics'")) == (plan.identity, plan.run)


def test_folder_gives_the_files_that_a_module_reads(tmp_path: Path) -> None:
    """Of a folder, at any depth, those files are taken whose names begin as a module is named."""
    (tmp_path / "traces").mkdir()
    files = [tmp_path / "raschka.jsonl", tmp_path / "traces/tinyllama_more.jsonl"]
    for file in (*files, tmp_path / "card_total_memory.jsonl"):
        file.touch()

    assert files == files_of([tmp_path])


def test_shorter_run_has_the_first_batches() -> None:
    """A run of fewer steps and with a lower cut has the first of all batches, cut."""
    whole, shorter = lengths.stream(), lengths.stream(100, 300)

    assert [tuple(min(length, 300) for length in step.batch) for step in whole.steps[:100]] == [
        step.batch for step in shorter.steps
    ]
