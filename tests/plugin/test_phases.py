"""What a recipe does after its training steps is measured and limited apart; the largest value that fits is found."""

from __future__ import annotations

from typing import Final

import pytest

from tests.plugin.projects import ON_RTX3060, Run, run_once

pytestmark = pytest.mark.stack

RECIPE: Final = """
[model]
pretrained_model_name_or_path = "phases/tiny-llama"
dtype = "bfloat16"
[model.config]
model_type = "llama"
hidden_size = 256
intermediate_size = 512
num_hidden_layers = 2
num_attention_heads = 4
vocab_size = 16000
[peft]
target_modules = ["q_proj"]
[training]
per_device_train_batch_size = 4
bf16 = true
[data]
synthetic_length = 128
"""
MODULE: Final = """
import pytest

KEPT = {"do_eval": True, "prediction_loss_only": False, "per_device_eval_batch_size": 8}
LONG = {"synthetic_length": 2048, "max_samples": 120}


@pytest.mark.vram(phases={"load": "1GB", "eval": "1GB", "merge": "2MiB", "predict": "1GB"}, steps=1)
def test_every_phase(vram):
    vram.train(
        "tiny.toml",
        training={"do_eval": True, "save_strategy": "epoch"},
        eval_data={"synthetic_length": 128, "max_samples": 8},
        generation={"max_new_tokens": 3, "prompt_length": 16},
        merge={},
    )


@pytest.mark.vram(phases={"eval": "11GB", "steady": "1GB"}, steps=1)
def test_predictions_fill_the_card(vram):
    vram.train("tiny.toml", training=KEPT, eval_data=LONG)


@pytest.mark.vram(steps=1)
def test_losses_do_not(vram):
    vram.train("tiny.toml", training={**KEPT, "prediction_loss_only": None}, eval_data=LONG)


def test_beams(vram):
    vram.train("tiny.toml", generation={"max_new_tokens": 3, "prompt_length": 16, "num_beams": 2})


@pytest.mark.vram(max_gb=0.4, min_batch_size=16, steps=1)
def test_largest_batch(vram):
    print("found", vram.longest("tiny.toml", "batch_size", low=4, high=16))


@pytest.mark.vram(max_gb=0.4, min_seq_len=128, steps=1)
def test_too_long(vram):
    vram.longest("tiny.toml", "seq_len", low=1024, high=1024)


def test_longest_comes_first(vram):
    with vram.phase("ours"):
        pass
    vram.longest("tiny.toml", "seq_len")
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of recipes that do something after their steps, and of searches."""
    files = {"test_phases.py": MODULE, "tiny.toml": RECIPE}
    return run_once(tmp_path_factory.mktemp("phases"), files, "-rA", *ON_RTX3060)


def test_every_phase_has_a_peak_of_its_own(run: Run) -> None:
    """What the recipe asks for follows the steps, and nothing else does."""
    phases = run.cases["test_every_phase"]["reading"]["phases"]
    without = run.cases["test_losses_do_not"]["reading"]["phases"]

    assert ["load", "first step", "optimizer", "steady", "eval", "generate", "save", "merge"] == list(phases)
    assert ["load", "first step", "optimizer", "steady", "eval"] == list(without)
    assert all(phase["peak_allocated_bytes"] > 0 for phase in phases.values())


def test_each_limit_is_judged_by_its_phase(run: Run) -> None:
    """A phase over its limit fails the test, and one that did not happen is not judged."""
    verdicts = {verdict["metric"]: verdict["outcome"] for verdict in run.cases["test_every_phase"]["verdicts"]}

    assert "FAILED" == run.outcomes["test_every_phase"]
    assert {
        "peak device bytes": "PASS",
        "peak device bytes of phase 'load'": "PASS",
        "peak device bytes of phase 'eval'": "PASS",
        "peak device bytes of phase 'merge'": "FAIL",
        "peak device bytes of phase 'predict'": "UNJUDGED",
    } == verdicts


def test_out_of_memory_in_the_evaluation_is_found(run: Run) -> None:
    """Predictions that are kept on the card fill it, where losses alone do not; the phases before are judged."""
    case = run.cases["test_predictions_fill_the_card"]
    outcomes = [verdict["outcome"] for verdict in case["verdicts"]]

    assert ("out_of_memory", "eval") == (case["reading"]["kind"], case["reading"]["phase"])
    assert ["FAIL", "FAIL", "PASS"] == outcomes  # fit, eval, steady
    assert "PASSED" == run.outcomes["test_losses_do_not"]


def test_a_generation_that_values_end_is_a_usage_error(run: Run) -> None:
    """Beams end where their scores say, which nobody computed: the case says so instead of measuring a part."""
    assert "ended after " in run.failure_of("test_beams")[0]
    assert " tokens, expected 3, " in run.failure_of("test_beams")[0]


def test_the_largest_batch_is_found_and_judged(run: Run) -> None:
    """The peaks are those of the value that was found, which is in the report and below what was promised."""
    case = run.cases["test_largest_batch"]
    longest = case["reading"]["longest"]
    verdicts = {verdict["gate"]: verdict["outcome"] for verdict in case["verdicts"]}

    assert "batch_size" == longest["quantity"]
    assert 4 <= longest["value"] < 16
    assert {"fit": "PASS", "longest": "FAIL"} == verdicts
    assert f"found {longest['value']}" in run.text
    assert 0 == case["reading"]["out_of_memory_count"] == case["reading"]["leftover_bytes"]


def test_where_nothing_fits_the_smallest_is_measured(run: Run) -> None:
    """The case shows by how much the smallest value does not fit."""
    case = run.cases["test_too_long"]

    assert {"quantity": "seq_len", "value": 0} == case["reading"]["longest"]
    assert ["FAIL", "FAIL"] == [verdict["outcome"] for verdict in case["verdicts"]]


def test_a_search_comes_first_in_its_test(run: Run) -> None:
    """What was measured before could not be told from what the trials did."""
    assert "FAILED" == run.outcomes["test_longest_comes_first"]
    assert "vram.longest: got a test that has measured something, expected to come first in it" in run.text
