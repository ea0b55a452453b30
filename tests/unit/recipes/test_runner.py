"""What a run tells its watch, and what it leaves behind: real training of a small model on the CPU."""

from __future__ import annotations

import gc
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers.utils import logging

from pytest_vramguard.errors import RecipeError
from pytest_vramguard.recipes.runner import run

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_vramguard.recipes import Recipe

    from .conftest import ListWatch

LOADED = ["load", "load ended"]
STEP = ["step of 16", "step of 16 ended"]


def modules_alive() -> int:
    """Count the modules of models that somebody holds."""
    gc.collect()
    return sum(issubclass(type(thing), torch.nn.Module) for thing in gc.get_objects())


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"peft": None},
        {"peft": {"use_dora": True}},
        {"model": {"dtype": "bfloat16"}, "training": {"bf16": True}},
        {"training": {"gradient_checkpointing": True}},
        {"model": {"attn_implementation": "eager"}},
    ],
    ids=["lora", "full", "dora", "bf16", "checkpointing", "eager"],
)
def test_watch_is_told_of_phase_and_steps(recipe: Recipe, watch: ListWatch, overrides: dict[str, Any]) -> None:
    """Loading is a phase, and each step is told with the tokens of its batch."""
    run(recipe.with_overrides(**overrides), steps=2, watch=watch)

    assert LOADED + STEP * 2 == watch.events


def test_accumulated_batches_are_one_step(recipe: Recipe, watch: ListWatch) -> None:
    """A step is an optimizer step, with the tokens of all of its batches."""
    run(recipe.with_overrides(training={"gradient_accumulation_steps": 3}), steps=1, watch=watch)

    assert [*LOADED, "step of 48", "step of 48 ended"] == watch.events


def test_tokens_of_batches_that_differ(recipe: Recipe, watch: ListWatch, tmp_path: Path) -> None:
    """Where batches are padded to their longest sample, the tokens of a step are not known."""
    row = '{{"instruction": "{}", "output": "Home."}}\n'
    (tmp_path / "rows.jsonl").write_text(row.format("Where to?") + row.format("Where to and when?"), encoding="utf-8")

    run(recipe.with_overrides(data={"synthetic_length": None, "path": "rows.jsonl"}), steps=1, watch=watch)

    assert [*LOADED, "step of None", "step of None ended"] == watch.events


def test_the_worst_batch_comes_first(recipe: Recipe, watch: ListWatch, tmp_path: Path) -> None:
    """With it the first step is on the longest row of the file, here the last, and every step is as large."""
    row = '{{"instruction": "{}", "output": "Home."}}\n'
    (tmp_path / "rows.jsonl").write_text(row.format("Where to?") * 3 + row.format("Where? " * 20), encoding="utf-8")
    rows = recipe.with_overrides(data={"synthetic_length": None, "path": "rows.jsonl", "pad_to_multiple_of": 64})

    run(rows, steps=1, watch=watch, worst_batch=True)

    assert [*LOADED, "step of 128", "step of 128 ended"] == watch.events


def ended(*phases: str) -> list[str]:
    """Return what a watch writes about phases that end well."""
    return [event for phase in phases for event in (phase, f"{phase} ended")]


def test_what_a_recipe_asks_for_after_the_steps(
    recipe: Recipe, watch: ListWatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluation, generation, saving and merging are phases of their own, in this order, and leave no file behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    asking = recipe.with_overrides(
        training={"do_eval": True, "save_strategy": "epoch", "prediction_loss_only": False},
        eval_data={"synthetic_length": 8, "max_samples": 3},
        generation={"max_new_tokens": 4, "prompt_length": 6, "do_sample": True},
        merge={"safe_merge": True},
    )
    run(asking, steps=1, watch=watch)

    assert [*LOADED, *STEP, *ended("eval", "generate", "save", "merge")] == watch.events
    assert [] == list(tmp_path.glob("vramguard-run-*"))


def test_a_full_model_is_saved(recipe: Recipe, watch: ListWatch) -> None:
    """Without an adapter the whole model is saved, and there is no other phase unless it is asked for."""
    run(recipe.with_overrides(peft=None, training={"save_strategy": "epoch"}), steps=1, watch=watch)

    assert [*LOADED, *STEP, *ended("save")] == watch.events


def test_a_generation_that_ends_early_is_refused(recipe: Recipe, watch: ListWatch) -> None:
    """Its peak would be that of a shorter one, so the message says what may have ended it."""
    asking = recipe.with_overrides(generation={"max_new_tokens": 4, "prompt_length": 6, "max_time": 1e-9})
    with pytest.raises(RecipeError) as caught:
        run(asking, steps=1, watch=watch)

    assert f"{recipe.source}: generation: ended after 1 tokens, expected 4, as values that" in str(caught.value)


def test_an_adapter_that_cannot_be_merged(recipe: Recipe, watch: ListWatch) -> None:
    """A prompt has no weights to merge into, which the message says by its type."""
    prompt = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 2, "target_modules": None}
    with pytest.raises(RecipeError) as caught:
        run(recipe.with_overrides(peft=prompt, merge={}), steps=1, watch=watch)

    assert f"{recipe.source}: merge: an adapter of type PROMPT_TUNING cannot be merged; drop [merge]" == str(caught.value)


def test_failing_step(recipe: Recipe, watch: ListWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of the training goes through the step in which it happened, to the caller."""

    def step(_self: object, _closure: object = None) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(torch.OutOfMemoryError):
        run(recipe, steps=2, watch=watch)

    assert [*LOADED, "step of 16", "step of 16 raised OutOfMemoryError"] == watch.events


def test_model_without_the_modules_of_the_adapter(recipe: Recipe, watch: ListWatch) -> None:
    """What PEFT refuses at the model is told with file and table."""
    with pytest.raises(RecipeError) as caught:
        run(recipe.with_overrides(peft={"target_modules": ["nope"]}), steps=1, watch=watch)

    expected = "Target modules {'nope'} not found in the base model. Please check the target modules and try again."
    assert f"{recipe.source}: peft: {expected}" == str(caught.value)
    assert ["load", "load raised RecipeError"] == watch.events


def test_nothing_is_left(recipe: Recipe, watch: ListWatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run leaves no part of a model in memory and no files on disk."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = modules_alive()

    run(recipe, steps=1, watch=watch)

    assert before == modules_alive()
    assert [] == list(tmp_path.glob("vramguard-run-*"))


def test_nothing_is_printed(recipe: Recipe, watch: ListWatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A loss from an emulated card means nothing, so none is shown, nor is a progress bar."""
    run(recipe, steps=1, watch=watch)

    assert ("", "") == capsys.readouterr()
    assert logging.is_progress_bar_enabled()
