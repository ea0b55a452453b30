"""What the Hugging Face classes are given, and how what they refuse is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import LoraConfig, VeraConfig

from pytest_vramguard.errors import RecipeError
from pytest_vramguard.recipes.arguments import Arguments, build_arguments

if TYPE_CHECKING:
    from pytest_vramguard.recipes import Recipe


def built(recipe: Recipe) -> Arguments:
    """Return the arguments for a run of three steps."""
    return build_arguments(recipe, steps=3, output_folder=Path("out"))


def faults(recipe: Recipe) -> list[str]:
    """Return the lines of the error that building the arguments gives, without the recipe's place."""
    with pytest.raises(RecipeError) as caught:
        built(recipe)
    return [line.removeprefix(f"{recipe.source}: ") for line in str(caught.value).splitlines()]


def test_training_arguments_are_those_of_the_recipe(recipe: Recipe) -> None:
    """The recipe's values reach TrainingArguments."""
    training = built(recipe.with_overrides(training={"learning_rate": 1, "optim": "adamw_torch"})).training

    assert (2, 1, "adamw_torch") == (training.per_device_train_batch_size, training.learning_rate, training.optim)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("max_steps", 1000, 3),
        ("output_dir", "elsewhere", "out"),
        ("save_strategy", "epoch", "no"),
        ("load_best_model_at_end", True, False),
        ("push_to_hub", True, False),
        ("eval_strategy", "epoch", "no"),
        ("eval_on_start", True, False),
        ("logging_strategy", "epoch", "no"),
        ("logging_first_step", True, False),
        ("report_to", "all", []),
        ("disable_tqdm", False, True),
        ("auto_find_batch_size", True, False),
    ],
)
def test_overruled_training_arguments(recipe: Recipe, key: str, value: object, expected: object) -> None:
    """A case trains a few steps and leaves nothing behind, whatever the recipe says of saving and reporting."""
    recipe = recipe.with_overrides(training={key: value}, data={"max_samples": 1})

    assert expected == getattr(built(recipe).training, key)


def test_recipe_keeps_its_tables(recipe: Recipe) -> None:
    """TrainingArguments changes the table that it is given; a second training must find the recipe as it was."""
    distributed = recipe.with_overrides(training={"fsdp": True, "fsdp_config": {"fsdp_version": 2}})
    built(distributed)

    assert {"fsdp_version": 2} == distributed.training["fsdp_config"]


def test_no_quantization(recipe: Recipe) -> None:
    """Without [quantization] there is none."""
    assert built(recipe).quantization is None


def test_quantization_is_that_of_the_recipe(recipe: Recipe) -> None:
    """The recipe's values reach BitsAndBytesConfig."""
    table = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "bfloat16"}

    found = built(recipe.with_overrides(quantization=table)).quantization

    assert found is not None
    assert (True, "nf4", torch.bfloat16) == (found.load_in_4bit, found.bnb_4bit_quant_type, found.bnb_4bit_compute_dtype)


def test_lora_unless_told_otherwise(recipe: Recipe) -> None:
    """[peft] describes LoRA of a causal language model, without saying so."""
    found = built(recipe.with_overrides(peft={"r": 3})).peft

    assert isinstance(found, LoraConfig)
    assert (3, "CAUSAL_LM") == (found.r, found.task_type)


def test_other_kinds_of_peft(recipe: Recipe) -> None:
    """`peft_type` chooses the class that [peft] describes."""
    assert isinstance(built(recipe.with_overrides(peft={"peft_type": "VERA"})).peft, VeraConfig)


def test_no_peft(recipe: Recipe) -> None:
    """Without [peft] all weights are trained."""
    assert built(recipe.with_overrides(peft=None)).peft is None


@pytest.mark.parametrize(
    ("table", "arguments", "expected"),
    [
        (
            "training",
            {"max_stepz": 3},
            "training.max_stepz: unknown key, expected an argument of TrainingArguments; did you mean 'max_steps'?",
        ),
        ("training", {"learning_rate": "2e-4"}, "training.learning_rate: got '2e-4' (str), expected float"),
        ("training", {"bf16": 1}, "training.bf16: got 1 (int), expected bool"),
        ("training", {"seed": True}, "training.seed: got True (bool), expected int"),
        ("training", {"run_name": 1}, "training.run_name: got 1 (int), expected str | None"),
        (
            "training",
            {"gradient_accumulation_steps": 0},
            "training.gradient_accumulation_steps: got 0 (int), expected an integer of at least 1",
        ),
        ("training", {"bf16": True, "fp16": True}, "training: At most one of fp16 and bf16 can be True, but not both"),
        ("peft", {"rank": 8}, "peft.rank: unknown key, expected an argument of LoraConfig"),
        ("peft", {"r": 8.5}, "peft.r: got 8.5 (float), expected int"),
        (
            "peft",
            {"layers_pattern": "h"},
            "peft: When `layers_pattern` is specified, `layers_to_transform` must also be specified.",
        ),
        (
            "quantization",
            {"load_in_4bits": True},
            "quantization.load_in_4bits: unknown key, expected an argument of BitsAndBytesConfig; did you mean 'load_in_4bit'?",
        ),
        ("quantization", {"load_in_4bit": "yes"}, "quantization: load_in_4bit must be a boolean"),
        (
            "quantization",
            {"load_in_4bit": True, "bnb_4bit_compute_dtype": "bf16"},
            "quantization.bnb_4bit_compute_dtype: got 'bf16' (str), expected the name of a torch type, such as 'bfloat16'",
        ),
        (
            "quantization",
            {},
            "quantization: load_in_4bit and load_in_8bit are both false, expected one to be true; set it, or drop the table",
        ),
        ("model", {"dtype": "bf16"}, "model.dtype: got 'bf16' (str), expected the name of a torch type, such as 'bfloat16'"),
    ],
)
def test_faulty_arguments(recipe: Recipe, table: str, arguments: dict[str, Any], expected: str) -> None:
    """Unknown keys, wrong types and what a class refuses are told with file and table."""
    assert [expected] == faults(recipe.with_overrides(**{table: arguments}))


def test_unknown_kind_of_peft(recipe: Recipe) -> None:
    """A `peft_type` that PEFT does not have is told, and no key is held against it."""
    (found,) = faults(recipe.with_overrides(peft={"peft_type": "LORRA", "r": 8}))

    assert found.startswith("peft.peft_type: got 'LORRA' (str), expected one of 'LORA', ")


def test_all_faults_at_once(recipe: Recipe) -> None:
    """Keys and types of all tables are told in one error."""
    faulty = recipe.with_overrides(model={"dtype": 1}, quantization={"x": 1}, peft={"x": 1}, training={"x": 1})

    expected = [
        "model.dtype: got 1 (int), expected the name of a torch type, such as 'bfloat16'",
        "quantization.x: unknown key, expected an argument of BitsAndBytesConfig",
        "peft.x: unknown key, expected an argument of LoraConfig",
        "training.x: unknown key, expected an argument of TrainingArguments",
    ]
    assert expected == faults(faulty)


def test_unknown_keys_of_what_follows_the_training(recipe: Recipe) -> None:
    """Keys of `[generation]` and `[merge]` are compared with what takes them before anything is trained."""
    wrong = recipe.with_overrides(generation={"max_new_tokens": 4, "prompt_length": 4, "num_beam": 2}, merge={"safe": True})
    with pytest.raises(RecipeError) as caught:
        built(wrong)

    assert [
        f"{recipe.source}: merge.safe: unknown key, expected an argument of merge_and_unload",
        f"{recipe.source}: generation.num_beam: unknown key, expected an argument of GenerationConfig;"
        " did you mean 'num_beams'?",
    ] == str(caught.value).splitlines()
