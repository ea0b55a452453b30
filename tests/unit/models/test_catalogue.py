"""How the catalogue of models is read and searched."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from pytest_vramguard.errors import CatalogueError
from pytest_vramguard.models import ModelCatalogue, ModelFacts, load_models

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = """
[models."acme/Tiny-1B"]
aliases = ["acme/Tiny-1B-Instruct", "tiny"]
parameters = 1_000
source = "acme.example"
[models."acme/Tiny-1B".config]
model_type = "llama"
architectures = ["LlamaForCausalLM"]
dtype = "bfloat16"
hidden_size = 8
"""
TINY = ModelFacts(
    name="acme/Tiny-1B",
    aliases=("acme/Tiny-1B-Instruct", "tiny"),
    config={"model_type": "llama", "architectures": ["LlamaForCausalLM"], "dtype": "bfloat16", "hidden_size": 8},
    parameters=1000,
    source="acme.example",
)


def load(folder: Path, text: str) -> ModelCatalogue:
    """Return the catalogue that a file with this text holds."""
    path = folder / "models.toml"
    path.write_text(text, encoding="utf-8")
    return load_models(path)


def test_an_entry_becomes_facts(tmp_path: Path) -> None:
    """Every key of an entry arrives in its field, the config as it stands."""
    assert ModelCatalogue(models=(TINY,)) == load(tmp_path, ENTRY)


def test_aliases_may_be_absent(tmp_path: Path) -> None:
    """An entry without `aliases` has none."""
    text = "\n".join(line for line in ENTRY.splitlines() if not line.startswith("aliases"))

    assert () == load(tmp_path, text).models[0].aliases


def test_all_faults_of_a_file_come_together(tmp_path: Path) -> None:
    """Missing keys, unknown keys and wrong types are listed in one error, each with its place."""
    text = """
model = 1
[models.broken]
aliases = "tiny"
parameters = 0
sauce = "acme.example"
[models.broken.config]
architectures = ["LlamaForCausalLM"]
dtype = "int3"
"""
    with pytest.raises(CatalogueError) as raised:
        load(tmp_path, text)

    assert [
        "models.toml: model: unknown key, expected one of models; did you mean 'models'?",
        (
            "models.toml: models.broken.sauce: unknown key, expected one of aliases, parameters, source, config"
            "; did you mean 'source'?"
        ),
        "models.toml: models.broken.config.model_type: missing, expected a non-empty string",
        "models.toml: models.broken.config.dtype: got 'int3' (str), expected one of 'float32', 'float16', 'bfloat16'",
        "models.toml: models.broken.aliases: got 'tiny' (str), expected a list of strings",
        "models.toml: models.broken.parameters: got 0 (int), expected an integer of at least 1",
        "models.toml: models.broken.source: missing, expected a non-empty string",
    ] == str(raised.value).splitlines()


@pytest.mark.parametrize(
    "name",
    ["acme/Tiny-1B", "ACME/tiny-1b", "Tiny-1B", "acme/Tiny-1B-Instruct", "tiny-1b-instruct", "tiny", "TINY"],
)
def test_a_model_is_found_by_each_spelling(name: str) -> None:
    """Hub id and aliases find a model whatever their case, with or without the owner."""
    assert TINY is ModelCatalogue(models=(TINY,)).find(name)


@pytest.mark.parametrize(("name", "suggestion"), [("acme/Tiny-2B", "; did you mean 'acme/Tiny-1B'?"), ("zzz", "")])
def test_an_unknown_model_is_refused(name: str, suggestion: str) -> None:
    """The error names both ways around the catalogue, and the nearest spelling if there is one."""
    with pytest.raises(CatalogueError) as raised:
        ModelCatalogue(models=(TINY,)).find(name)

    assert (
        f"model {name!r}: not in the catalogue, expected one of its 1 models, a local folder that holds a config.json,"
        f" or any name with a config in [model.config]{suggestion}"
    ) == str(raised.value)


def test_no_shipped_spelling_is_ambiguous() -> None:
    """No two shipped models, and no two aliases of one, are called the same."""
    spellings = Counter(spelling.casefold() for model in load_models().models for spelling in model.spellings)

    assert [] == [spelling for spelling, times in spellings.items() if times > 1]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("llama-2-7b", "meta-llama/Llama-2-7b-hf"),
        ("meta-llama/Llama-2-7b", "meta-llama/Llama-2-7b-hf"),
        ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B"),
        ("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B"),
        ("Qwen3-8B", "Qwen/Qwen3-8B"),
        ("google/gemma-2-2b-it", "google/gemma-2-2b-it"),
        ("gpt2", "openai-community/gpt2"),
        ("bert-large-uncased", "google-bert/bert-large-uncased"),
    ],
)
def test_customary_names_find_shipped_models(name: str, found: str) -> None:
    """The names that people write find the published model."""
    assert found == load_models().find(name).name


def test_gemma_base_and_tuned_differ_in_dtype() -> None:
    """Gemma 2 publishes base weights in float32 and tuned ones in bfloat16, so the two do not share an entry."""
    catalogue = load_models()

    assert ["float32", "bfloat16"] == [catalogue.find(name).config["dtype"] for name in ("gemma-2-2b", "gemma-2-2b-it")]
