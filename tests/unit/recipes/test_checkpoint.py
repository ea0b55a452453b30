"""Where a recipe's model is looked for, and how a model that cannot be had is told."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors import safe_open

from pytest_vramguard.errors import RecipeError
from pytest_vramguard.models import load_models, tokenizer_folder
from pytest_vramguard.recipes.checkpoint import find_checkpoint
from pytest_vramguard.recipes.phantom import phantom_store

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_vramguard.recipes import Recipe


def named(recipe: Recipe, name: str, **arguments: Any) -> Recipe:
    """Return the recipe with a model of this name and these arguments, and nothing else in [model]."""
    return replace(recipe, tables={**recipe.tables, "model": {"pretrained_model_name_or_path": name, **arguments}})


def own_folder(recipe: Recipe, *files: str) -> Path:
    """Return a folder beside the recipe with some files of its model's phantom."""
    folder = recipe.folder / "own"
    folder.mkdir()
    for name in files:
        shutil.copy(find_checkpoint(recipe).folder / name, folder)
    return folder


def fault(recipe: Recipe) -> str:
    """Return the error that looking for the model gives, without the recipe's place."""
    with pytest.raises(RecipeError) as caught:
        find_checkpoint(recipe)
    return str(caught.value).removeprefix(f"{recipe.source}: ")


def test_folder_with_weights_is_taken_as_it_is(recipe: Recipe) -> None:
    """Real local weights are loaded from where they are."""
    folder = own_folder(recipe, "config.json", "model.safetensors")

    assert folder == find_checkpoint(named(recipe, "own")).folder


def test_folder_with_a_config_alone_becomes_a_phantom(recipe: Recipe) -> None:
    """A config.json without weights is enough."""
    own_folder(recipe, "config.json")

    found = find_checkpoint(named(recipe, "own"))

    assert phantom_store().folder(found.config, torch.float32) == found.folder
    assert 3000 == found.config.vocab_size


def test_model_of_the_catalogue_becomes_a_phantom(recipe: Recipe) -> None:
    """A published model is built from the facts of the catalogue, in the type of its published weights."""
    found = find_checkpoint(named(recipe, "openai-community/gpt2"))

    assert 768 == found.config.hidden_size
    with safe_open(found.folder / "model.safetensors", framework="pt") as weights:
        assert "F32" == weights.get_slice("transformer.wte.weight").get_dtype()


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_phantom_has_the_type_of_the_recipe(recipe: Recipe, key: str) -> None:
    """Weights are written in the type that the recipe loads them in, whichever name the argument has."""
    found = find_checkpoint(named(recipe, "openai-community/gpt2", **{key: "float16"}))

    with safe_open(found.folder / "model.safetensors", framework="pt") as weights:
        assert "F16" == weights.get_slice("transformer.wte.weight").get_dtype()


def test_config_of_the_recipe_is_a_model(recipe: Recipe) -> None:
    """A model of any name needs nothing but [model.config]."""
    assert 32 == find_checkpoint(recipe).config.hidden_size


@pytest.mark.parametrize("name", ["own", "openai-community/gpt2"])
def test_config_of_the_recipe_is_laid_over_the_model(recipe: Recipe, name: str) -> None:
    """[model.config] changes single keys of a model that is known otherwise."""
    own_folder(recipe, "config.json")

    assert 1 == find_checkpoint(named(recipe, name, config={"num_hidden_layers": 1})).config.num_hidden_layers


def test_folder_comes_before_the_catalogue(recipe: Recipe) -> None:
    """A folder that is called like a published model is meant."""
    folder = own_folder(recipe, "config.json", "model.safetensors")
    folder.rename(recipe.folder / "gpt2")

    assert recipe.folder / "gpt2" == find_checkpoint(named(recipe, "gpt2")).folder


def test_own_tokenizer_is_taken(recipe: Recipe) -> None:
    """A model's folder that has a tokenizer is where it comes from, also if there are no weights."""
    folder = own_folder(recipe, "config.json")
    shutil.copy(tokenizer_folder() / "tokenizer.json", folder)

    assert folder == find_checkpoint(named(recipe, "own")).tokenizer_folder


def test_shipped_tokenizer_is_taken_otherwise(recipe: Recipe) -> None:
    """A model without a tokenizer is fed by the shipped one."""
    assert tokenizer_folder() == find_checkpoint(recipe).tokenizer_folder


def test_unknown_model(recipe: Recipe) -> None:
    """A name that is nothing of all is told with the nearest of the catalogue and the ways around it."""
    expected = (
        f"model 'gpt3': not in the catalogue, expected one of its {len(load_models().models)} models, a local folder that holds"
        " a config.json, or any name with a config in [model.config]; did you mean 'gpt2'?"
    )

    assert expected == fault(named(recipe, "gpt3"))


def test_unknown_key_of_a_config(recipe: Recipe) -> None:
    """A misspelt key is an error, although transformers would take it."""
    expected = "model.config.num_hiden_layers: unknown key, expected a key of GPT2Config; did you mean 'num_hidden_layers'?"

    assert expected == fault(named(recipe, "gpt2", config={"num_hiden_layers": 1}))


def test_wrong_type_in_a_config(recipe: Recipe) -> None:
    """What a config class refuses is told with the recipe's place."""
    expected = (
        "model.config: Validation error for field 'n_layer': TypeError: Field 'n_layer' expected int, got str (value: '1')"
    )

    assert expected == fault(named(recipe, "gpt2", config={"n_layer": "1"}))


def test_unknown_model_type(recipe: Recipe) -> None:
    """A model_type that transformers does not have is told with the recipe's place."""
    found = fault(named(recipe, "ours", config={"model_type": "lama"}))

    assert found.startswith("model.config: Unrecognized model identifier: lama. Should contain one of ")


def test_config_file_without_model_type(recipe: Recipe) -> None:
    """A config.json that does not say what it configures is told by its own place."""
    path = own_folder(recipe) / "config.json"
    path.write_text(json.dumps({"vocab_size": 5}), encoding="utf-8")

    assert f"{path}: model_type: missing, expected a non-empty string" == fault(named(recipe, "own"))
