"""The catalogue of models: the config of each published model, so that it can be built where its weights are not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_vramguard.errors import CatalogueError
from pytest_vramguard.tables import did_you_mean, reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_vramguard.tables import Table

_SHIPPED: Final = Path(__file__).with_name("models.toml")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """What is published about one model, as far as it shapes memory."""

    name: str
    """Hub id, as in `meta-llama/Llama-2-7b-hf`."""
    aliases: tuple[str, ...]
    """Other hub ids and short names of models with the same facts, instruction-tuned variants among them."""
    config: Mapping[str, object]
    """Keys and values of the model's `config.json`, always with `model_type`, `architectures` and `dtype` (of the weights).

    Copy it deeply before it goes to a library: transformers writes into `rope_scaling`.
    """
    parameters: int
    """Number of distinct parameters of the class in `architectures`; tied weights count once."""
    source: str
    """Where config and count come from."""

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every name that finds this model: hub id and aliases, each also without its owner."""
        names = (self.name, *self.aliases)
        return (*names, *(name.rpartition("/")[2] for name in names if "/" in name))


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCatalogue:
    """The known models, in the order of the file."""

    models: tuple[ModelFacts, ...]

    def find(self, name: str) -> ModelFacts:
        """Return the model with this hub id or alias; case does not matter, and the owner may be left out.

        Raises:
            CatalogueError: when no model is called so; the message names the nearest one and the ways around the catalogue.
        """
        wanted = name.casefold()
        for model in self.models:
            if wanted in map(str.casefold, model.spellings):
                return model
        known = tuple(spelling for model in self.models for spelling in model.spellings)
        raise CatalogueError(
            f"model {name!r}: not in the catalogue, expected one of its {len(self.models)} models, a local folder that holds"
            f" a config.json, or any name with a config in [model.config]{did_you_mean(name, known)}"
        )


def load_models(path: Path = _SHIPPED) -> ModelCatalogue:
    """Read the catalogue from its file; nothing is kept between calls.

    Raises:
        CatalogueError: when the file cannot be read, or a key is missing, unknown or of the wrong type; all faults at once.
    """
    with reading(path, CatalogueError, name=path.name) as root:
        root.refuse_unknown(("models",))
        models = root.table("models")
        facts = tuple(_facts(name, models.table(name)) for name in models.mapping)
    return ModelCatalogue(models=facts)


def _facts(name: str, entry: Table) -> ModelFacts:
    """Read one entry."""
    entry.refuse_unknown(("aliases", "parameters", "source", "config"))
    config = entry.table("config")
    config.string("model_type")
    config.strings("architectures")
    config.choice("dtype", ("float32", "float16", "bfloat16"))
    return ModelFacts(
        name=name,
        aliases=entry.strings("aliases", ()),
        config=config.mapping,
        parameters=entry.integer("parameters", minimum=1),
        source=entry.string("source"),
    )
