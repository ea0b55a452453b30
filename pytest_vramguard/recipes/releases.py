"""What earlier releases of the training stack call otherwise, or do not have.

Recipes and the rest of this package use the names of the present releases.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import huggingface_hub.errors
import torch
from transformers import PretrainedConfig, TrainingArguments

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DTYPE_KEY", "ConfigRefusal", "load_keywords", "text_config", "with_dtype_key", "with_training_names"]

ConfigRefusal: Final[type[Exception]] = getattr(huggingface_hub.errors, "StrictDataclassError", ValueError)
"""What a config raises for a wrong value; earlier releases of huggingface_hub do not check them."""
DTYPE_KEY: Final = "dtype" if hasattr(PretrainedConfig(), "dtype") else "torch_dtype"
"""What transformers calls the type of the weights: `torch_dtype` before release 4.56."""
_EARLIER_TRAINING_NAMES: Final = {"eval_strategy": "evaluation_strategy"}
"""Training arguments with another name before transformers 4.41."""


def with_dtype_key(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a config with the type of the weights under the name of this release."""
    return {DTYPE_KEY if key == "dtype" else key: value for key, value in keywords.items()}


def load_keywords(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of `from_pretrained` for this release. transformers 4.36 takes a type, not its name."""
    named = with_dtype_key(keywords)
    if named.get(DTYPE_KEY, "auto") != "auto":
        named[DTYPE_KEY] = getattr(torch, named[DTYPE_KEY])
    return named


def with_training_names(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return training arguments under the names of this release, without those that it does not have."""
    known = {field.name for field in fields(TrainingArguments)}
    named = {key if key in known else _EARLIER_TRAINING_NAMES.get(key, key): value for key, value in arguments.items()}
    return {key: value for key, value in named.items() if key in known}


def text_config(config: Any) -> Any:
    """Return the config of the language model in `config`, which in transformers 4.36 is the whole of it."""
    return config.get_text_config() if hasattr(config, "get_text_config") else config
