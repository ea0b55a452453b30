"""Where a recipe's model comes from: real weights in a local folder, or a phantom made from a config. Nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import AutoConfig

from pytest_vramguard.errors import CatalogueError, RecipeError
from pytest_vramguard.models import load_models, tokenizer_folder
from pytest_vramguard.recipes.phantom import phantom_store
from pytest_vramguard.recipes.releases import DTYPE_KEY, ConfigRefusal, with_dtype_key
from pytest_vramguard.tables import checking, did_you_mean, reading

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transformers import PreTrainedConfig

    from pytest_vramguard.recipes.recipe import Recipe

_WEIGHTS: Final = ("*.safetensors", "pytorch_model*.bin")
"""Files of which a folder with weights holds at least one."""
_TOKENIZERS: Final = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")
"""Files of which a folder with a tokenizer holds at least one."""
_PUBLISHED_KEYS: Final = ("model_type", "torch_dtype", "rope_theta", "rope_scaling")
"""Keys of published `config.json` files that config classes read without an attribute of that name (transformers 5.23)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """What `from_pretrained` and the tokenizer are to load."""

    folder: Path
    """Holds config and weights, real or phantom."""
    config: PreTrainedConfig
    """The model's config with the recipe's `[model.config]` in it."""
    tokenizer_folder: Path
    """The model's own folder if it has a tokenizer, else that of the shipped one."""


def find_checkpoint(recipe: Recipe) -> Checkpoint:
    """Return the checkpoint of the recipe's model.

    The first that there is: a folder beside the recipe with weights, or with a `config.json` alone; a model of the catalogue;
    `[model.config]`.

    Raises:
        RecipeError: if there is none, or if its config is not valid.
    """
    own = recipe.folder / recipe.model["pretrained_model_name_or_path"]
    config = _config(recipe, _base(recipe, own))
    dtype = _weights_dtype(recipe, config)
    return Checkpoint(
        folder=own if _holds_any(own, _WEIGHTS) else phantom_store().folder(config, dtype),
        config=config,
        tokenizer_folder=own if _holds_any(own, _TOKENIZERS) else tokenizer_folder(),
    )


def _holds_any(folder: Path, patterns: tuple[str, ...]) -> bool:
    """Whether `folder` is a model's folder and holds a file of one of `patterns`."""
    return (folder / "config.json").is_file() and any(any(folder.glob(pattern)) for pattern in patterns)


def _base(recipe: Recipe, own: Path) -> Mapping[str, Any]:
    """Return the config that `[model.config]` is laid over; it is empty where that table says all."""
    if (own / "config.json").is_file():
        with reading(own / "config.json", RecipeError) as root:
            root.string("model_type")
        return root.mapping
    try:
        return load_models().find(recipe.model["pretrained_model_name_or_path"]).config
    except CatalogueError as exc:
        if "model_type" in recipe.model.get("config", {}):
            return {}
        raise RecipeError(f"{recipe.source}: {exc}") from exc


def _config(recipe: Recipe, base: Mapping[str, Any]) -> PreTrainedConfig:
    """Return the config object; transformers takes any key, so keys that its class does not know are refused here."""
    overrides = recipe.model.get("config", {})
    merged = with_dtype_key({**base, **overrides})
    try:
        blank = AutoConfig.for_model(merged["model_type"])
        _check_overrides(recipe, blank)
        return AutoConfig.for_model(**merged)
    except (ValueError, ConfigRefusal) as exc:
        raise RecipeError(f"{recipe.source}: model.config: {' '.join(str(exc).split())}") from exc


def _check_overrides(recipe: Recipe, blank: PreTrainedConfig) -> None:
    """Refuse keys of `[model.config]` that configs of the class of `blank` do not have."""
    known = (*_PUBLISHED_KEYS, *blank.attribute_map, *vars(blank))
    with checking(recipe.tables, recipe.source, RecipeError) as root:
        config = root.table("model").table("config", required=False)
        for key in config.mapping:
            if key not in known:
                config.fault(key, f"unknown key, expected a key of {type(blank).__name__}{did_you_mean(key, known)}")


def _weights_dtype(recipe: Recipe, config: PreTrainedConfig) -> torch.dtype:
    """Return the type in which the weights are loaded: as `from_pretrained` has it, the recipe's, else the config's."""
    name = recipe.model.get("dtype", recipe.model.get("torch_dtype", "auto"))
    if name == "auto":
        name = str(getattr(config, DTYPE_KEY) or torch.float32).removeprefix("torch.")
    dtype: torch.dtype = getattr(torch, name)
    return dtype
