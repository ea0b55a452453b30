"""Whether each shipped config builds the published model: all of them are built, on the meta device."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
import torch
import transformers

from pytest_vramguard.models import load_models

if TYPE_CHECKING:
    from pytest_vramguard.models import ModelFacts

MODELS = {facts.name: facts for facts in load_models().models}
MOVED = ("rope_theta", "rope_scaling")
"""Keys of published files that transformers 5 reads, but keeps in `rope_parameters`."""


def config_of(facts: ModelFacts) -> transformers.PreTrainedConfig:
    """Return what transformers makes of a shipped config, to which it may write."""
    arguments: dict[str, Any] = deepcopy(dict(facts.config))
    return transformers.AutoConfig.for_model(**arguments)


def parameters_of(facts: ModelFacts) -> int:
    """Count the distinct parameters of the class that the config names, built without memory for its weights."""
    config = config_of(facts)
    automatic = transformers.AutoModelForMaskedLM if config.model_type == "bert" else transformers.AutoModelForCausalLM
    with torch.device("meta"):
        model = automatic.from_config(config)  # type: ignore[no-untyped-call]  # transformers leaves it unannotated
    assert facts.config["architectures"] == [type(model).__name__]
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_config_builds_the_published_model(name: str) -> None:
    """A model built from its config has exactly the stated number of distinct parameters."""
    assert MODELS[name].parameters == parameters_of(MODELS[name])


@pytest.mark.parametrize("name", MODELS)
def test_no_key_of_a_config_is_lost(name: str) -> None:
    """Transformers keeps every key of a config with its value."""
    wanted = {key: value for key, value in MODELS[name].config.items() if key not in MOVED}
    kept = config_of(MODELS[name]).to_dict()

    assert wanted == {key: kept.get(key) for key in wanted}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Qwen/Qwen2.5-7B", {"rope_type": "default", "rope_theta": 1000000.0}),
        (
            "meta-llama/Llama-3.2-1B",
            {
                "rope_type": "llama3",
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
                "rope_theta": 500000.0,
            },
        ),
    ],
)
def test_rotary_keys_of_published_files_take_effect(name: str, expected: dict[str, object]) -> None:
    """`rope_theta` and `rope_scaling` arrive where transformers 5 looks for them."""
    assert expected == config_of(MODELS[name]).rope_parameters
