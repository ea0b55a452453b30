"""Names of earlier releases of the training stack, as far as the installed one can show them."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from pytest_vramguard.recipes.releases import DTYPE_KEY, load_keywords, text_config, with_dtype_key, with_training_names


def test_the_type_of_the_weights_has_the_name_of_this_release() -> None:
    """Other keys stay; so does the earlier name, which is known to all releases."""
    assert {DTYPE_KEY: "bfloat16", "use_cache": False} == with_dtype_key({"dtype": "bfloat16", "use_cache": False})


def test_a_load_is_given_the_type_itself() -> None:
    """The name will not do everywhere; `auto` is no name of a type."""
    assert {DTYPE_KEY: torch.bfloat16} == load_keywords({"dtype": "bfloat16"})
    assert {DTYPE_KEY: "auto"} == load_keywords({"dtype": "auto"})
    assert {"use_safetensors": True} == load_keywords({"use_safetensors": True})


def test_training_arguments_that_this_release_lacks_are_left_out() -> None:
    """What is known is kept."""
    assert {"max_steps": 3} == with_training_names({"max_steps": 3, "no_such_argument": True})


def test_a_config_of_one_part_is_its_own_text_config() -> None:
    """A config that cannot be asked is one of a language model."""
    config = SimpleNamespace(vocab_size=7)

    assert config is text_config(config)
    assert 8 == text_config(SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=8))).vocab_size
