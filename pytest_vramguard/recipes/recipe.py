"""A recipe: what is trained and how, read from TOML without any heavy library.

Tables whose keys are the arguments of the Hugging Face classes that they feed:

- `[model]`: `AutoModelForCausalLM.from_pretrained`; its table `config` holds keys of the model's `config.json`;
- `[quantization]`: `BitsAndBytesConfig`; without the table the weights stay in `dtype`;
- `[peft]`: the config class of `peft_type`, by default `LoraConfig`; without the table all weights are trained;
- `[training]`: `TrainingArguments`; evaluation and saving, where it asks for them, are done once after the steps;
- `[data]`, and `[eval_data]` where evaluation has its own: `DataTable`, whose keys are ours;
- `[generation]`: `GenerationConfig`, and how many prompts of which length; without the table nothing is generated;
- `[merge]`: `merge_and_unload`; without the table the adapter is not merged.

Keys of those classes are compared with them when the recipe is run, since only then the classes are loaded.
Paths in a recipe are relative to its file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from pytest_vramguard.errors import RecipeError
from pytest_vramguard.tables import checking, reading

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_vramguard.tables import Table

TABLES: Final = ("model", "quantization", "peft", "training", "data", "eval_data", "generation", "merge")
"""The tables of a recipe."""
MODEL_KEYS: Final = (
    "pretrained_model_name_or_path",
    "config",
    "dtype",
    "torch_dtype",
    "attn_implementation",
    "experts_implementation",
    "use_safetensors",
    "variant",
)
"""Arguments of `from_pretrained` that a recipe may set: those that change the model. Where it goes (`device_map`) and where it
comes from (`local_files_only`) are settled by the runner. Source: transformers 5.23, `PreTrainedModel.from_pretrained`."""
PADDINGS: Final = ("longest", "max_length")
"""Values of the argument `padding` of a tokenizer that make a batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataTable:
    """What the model is trained on: the rows of a JSONL, or synthetic token ids.

    Peak memory grows with the longest sample of a batch, so a recipe that pads to `max_length` measures its worst case.
    """

    path: Path | None
    """JSONL with a row a line, each with `instruction` and `output` (and `input`), or with `messages`."""
    synthetic_length: int | None
    """Token ids in each sample, where there is no `path`."""
    max_length: int | None
    """Longer samples are cut to this many token ids; None cuts nothing."""
    padding: str
    """`longest` pads a batch to its longest sample, `max_length` always to `max_length`."""
    pad_to_multiple_of: int | None
    """The padded length is rounded up to a multiple of this."""
    max_samples: int | None = None
    """Rows of the file that are used, from its start; None uses all. Of synthetic data, the number of samples to evaluate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationTable:
    """What the model generates after the training steps: as many tokens as are allowed, from prompts of synthetic token ids."""

    prompt_length: int
    """Token ids in each prompt."""
    batch_size: int
    """Prompts at once."""
    config: Mapping[str, Any]
    """Arguments of `GenerationConfig`, `max_new_tokens` among them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A recipe whose tables are known to be the right ones, and whose `[data]` is known to be sound."""

    source: str
    """The file, as errors call it."""
    folder: Path
    """What paths in the recipe are relative to."""
    tables: Mapping[str, Mapping[str, Any]]
    """The tables as written, by name."""
    data: DataTable
    eval_data: DataTable | None
    """What is evaluated after the steps; None evaluates nothing."""
    generation: GenerationTable | None
    """What is generated after the steps; None generates nothing."""

    @property
    def model(self) -> Mapping[str, Any]:
        """Arguments of `from_pretrained`."""
        return self.tables["model"]

    @property
    def quantization(self) -> Mapping[str, Any] | None:
        """Arguments of `BitsAndBytesConfig`; None leaves the weights as they are."""
        return self.tables.get("quantization")

    @property
    def peft(self) -> Mapping[str, Any] | None:
        """Arguments of the PEFT config; None trains all weights."""
        return self.tables.get("peft")

    @property
    def training(self) -> Mapping[str, Any]:
        """Arguments of `TrainingArguments`."""
        return self.tables.get("training", {})

    @property
    def keeps_predictions(self) -> bool:
        """Whether evaluation gathers the logits of every sample, as a Trainer does that has metrics to compute."""
        return self.training.get("prediction_loss_only") is False

    @property
    def saves(self) -> bool:
        """Whether the trained model is saved, once and after the steps."""
        return bool(self.training.get("save_strategy", "no") != "no")

    @property
    def merge(self) -> Mapping[str, Any] | None:
        """Arguments of `merge_and_unload`; None does not merge."""
        return self.tables.get("merge")

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that differ when a table differs, or the rows that `[data]` or `[eval_data]` name.

        A file of rows that cannot be read counts as none: training it says what is wrong.
        """
        paths = {data.path: None for data in (self.data, self.eval_data) if data is not None and data.path is not None}
        rows = b"".join(path.read_bytes() for path in paths if path.is_file())
        written = json.dumps(self.tables, sort_keys=True, default=str)
        return sha256(written.encode() + rows).hexdigest()[:12]

    def with_overrides(self, **overrides: Mapping[str, Any] | None) -> Recipe:
        """Return the recipe with each named table laid over its own; None drops a table, or a key of one.

            recipe.with_overrides(training={"gradient_checkpointing": False}, quantization=None)

        Raises:
            RecipeError: if there is no such table, or what comes out is not a recipe.
        """
        with checking(_merged(self.tables, overrides), self.source, RecipeError) as root:
            return _recipe(root, self.folder)


def load_recipe(path: Path) -> Recipe:
    """Return the recipe in the TOML file at `path`.

    Raises:
        RecipeError: if the file cannot be read, with every fault of tables, model keys and data in one message.
    """
    with reading(path, RecipeError) as root:
        return _recipe(root, path.parent)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the keys of `over` laid over it, and so for tables inside; None takes a key away."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below if isinstance(below, dict) else {}, value) if isinstance(value, dict) else value
    return {key: value for key, value in merged.items() if value is not None}


def _recipe(root: Table, folder: Path) -> Recipe:
    """Return the recipe in `root`; its faults are noted there."""
    root.refuse_unknown(TABLES)
    tables = {name: root.table(name) for name in TABLES if name in root.mapping or name in ("model", "data")}
    _check_model(tables["model"])
    if "quantization" in tables and "peft" not in tables:
        root.fault("peft", "missing, expected a table, as quantised weights cannot be trained; or drop [quantization]")
    if "merge" in tables and "peft" not in tables:
        root.fault("peft", "missing, expected a table, as there is no adapter to merge; or drop [merge]")
    return Recipe(
        source=root.source,
        folder=folder,
        tables={name: table.mapping for name, table in tables.items()},
        data=_data(tables["data"], folder),
        eval_data=_eval_data(tables, folder),
        generation=_generation(tables["generation"]) if "generation" in tables else None,
    )


def _eval_data(tables: Mapping[str, Table], folder: Path) -> DataTable | None:
    """Return what is evaluated, if `[training]` asks for it: `[eval_data]`, or without it the data of the training."""
    data = _data(tables["eval_data"], folder) if "eval_data" in tables else None
    training = tables["training"].mapping if "training" in tables else {}
    strategies = (training.get("eval_strategy", "no"), training.get("evaluation_strategy", "no"))
    if training.get("do_eval") is not True and strategies == ("no", "no"):
        return None
    table = tables.get("eval_data", tables["data"])
    if "synthetic_length" in table.mapping and "max_samples" not in table.mapping:
        table.fault("max_samples", "missing, expected an integer of at least 1, as synthetic data that is evaluated has no end")
    return data or _data(table, folder)


def _generation(table: Table) -> GenerationTable:
    """Return `[generation]`, as far as it can be known without loading transformers; its faults are noted there."""
    table.integer("max_new_tokens", minimum=1)
    ours = ("prompt_length", "batch_size")
    return GenerationTable(
        prompt_length=table.integer("prompt_length", minimum=1),
        batch_size=table.integer("batch_size", 1, minimum=1),
        config={key: value for key, value in table.mapping.items() if key not in ours},
    )


def _check_model(model: Table) -> None:
    """Note what is wrong with `[model]`, as far as it can be known without loading transformers."""
    model.refuse_unknown(MODEL_KEYS)
    model.string("pretrained_model_name_or_path")
    model.table("config", required=False)


def _data(data: Table, folder: Path) -> DataTable:
    """Return `[data]`; its faults are noted there."""
    data.refuse_unknown(field.name for field in fields(DataTable))
    _check_source(data)
    path = data.string("path", None)
    return DataTable(
        path=folder / path if path else None,
        synthetic_length=data.integer("synthetic_length", None, minimum=1),
        max_length=data.integer("max_length", None, minimum=1),
        padding=data.choice("padding", PADDINGS, "longest"),
        pad_to_multiple_of=data.integer("pad_to_multiple_of", None, minimum=1),
        max_samples=data.integer("max_samples", None, minimum=1),
    )


def _check_source(data: Table) -> None:
    """Note where the keys of `[data]` contradict each other."""
    given = {key for key, value in data.mapping.items() if value is not None}
    if not given & {"path", "synthetic_length"}:
        data.fault("path", "missing, expected the path of a JSONL file; or give synthetic_length")
    if {"path", "synthetic_length"} <= given:
        data.fault("synthetic_length", "given beside path, expected one of the two; drop one")
    if data.mapping.get("padding") == "max_length" and "max_length" not in given:
        data.fault("max_length", "missing, expected an integer of at least 1, as padding is 'max_length'")
