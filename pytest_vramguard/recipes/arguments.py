"""Recipe tables as the Hugging Face objects that they describe, with what those classes refuse told as a located error."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from dataclasses import dataclass, fields
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, Union, get_args, get_origin, get_type_hints

import torch
from peft import PEFT_TYPE_TO_CONFIG_MAPPING, LoraModel, get_peft_config
from transformers import BitsAndBytesConfig, GenerationConfig, TrainingArguments

from pytest_vramguard.errors import RecipeError
from pytest_vramguard.recipes.releases import with_training_names
from pytest_vramguard.tables import checking, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from peft import PeftConfig

    from pytest_vramguard.recipes.recipe import Recipe
    from pytest_vramguard.tables import Table

_OVERRULED: Final[Mapping[str, Any]] = {
    "save_strategy": "no",
    "load_best_model_at_end": False,
    "push_to_hub": False,
    "eval_strategy": "no",
    "eval_on_start": False,
    "logging_strategy": "no",  # a loss from an emulated card means nothing
    "logging_first_step": False,
    "report_to": "none",
    "disable_tqdm": True,
    "auto_find_batch_size": False,  # would hide the out-of-memory that a case is there to find
}
"""Training arguments that hold whatever the recipe says: a case trains a few steps and leaves nothing behind. Evaluation and
saving that the recipe asks for follow after the steps."""
_PEFT_DEFAULTS: Final = {"peft_type": "LORA", "task_type": "CAUSAL_LM"}
"""What `[peft]` need not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """The tables of a recipe as the objects that they describe."""

    training: TrainingArguments
    quantization: BitsAndBytesConfig | None
    peft: PeftConfig | None


def build_arguments(recipe: Recipe, *, steps: int, output_folder: Path) -> Arguments:
    """Return the arguments for a run of `steps` optimizer steps.

    Raises:
        RecipeError: for unknown keys and wrong types, all at once; or for the first thing that one of the classes refuses,
            which may depend on the device, as bf16 does.
    """
    with checking(recipe.tables, recipe.source, RecipeError) as root:
        _check_dtypes(root.table("model"), ("dtype", "torch_dtype"))
        _check_keys(root.table("quantization", required=False), BitsAndBytesConfig, _untyped(BitsAndBytesConfig))
        _check_dtypes(root.table("quantization", required=False), ("bnb_4bit_compute_dtype", "bnb_4bit_quant_storage"))
        _check_peft(root.table("peft", required=False))
        _check_training(root.table("training", required=False))
        _check_keys(root.table("merge", required=False), LoraModel.merge_and_unload, _untyped(LoraModel.merge_and_unload))
        _check_generation(recipe, root.table("generation", required=False))
    quantization = None if recipe.quantization is None else _quantization(recipe, recipe.quantization)
    with refusals(recipe, "peft"):
        peft = None if recipe.peft is None else get_peft_config({**_PEFT_DEFAULTS, **recipe.peft})
    with refusals(recipe, "training"):
        training = TrainingArguments(
            **{**recipe.training, **with_training_names(_OVERRULED), "max_steps": steps, "output_dir": str(output_folder)}
        )
    return Arguments(training=training, quantization=quantization, peft=peft)


def _check_generation(recipe: Recipe, table: Table) -> None:
    """Note keys of `[generation]` that its class does not know; it would take any."""
    if recipe.generation is not None:
        known = {**dict.fromkeys(vars(GenerationConfig()), Any), "prompt_length": int, "batch_size": int}
        _check_keys(table, GenerationConfig, known)


@contextmanager
def refusals(recipe: Recipe, table: str) -> Iterator[None]:
    """Raise what the training stack refuses in the block as an error of `table`."""
    try:
        yield
    except (ImportError, TypeError, ValueError) as exc:
        raise RecipeError(f"{recipe.source}: {table}: {str(exc).strip()}") from exc


def _quantization(recipe: Recipe, table: Mapping[str, Any]) -> BitsAndBytesConfig:
    """Return `[quantization]`, in which a number of bits must be chosen."""
    with refusals(recipe, "quantization"):
        config = BitsAndBytesConfig(**table)
        if not config.is_quantizable():
            raise ValueError("load_in_4bit and load_in_8bit are both false, expected one to be true; set it, or drop the table")
    return config


def _check_training(table: Table) -> None:
    """Note what is wrong with `[training]`; sizes of a batch that are not there would fail in the middle of the run."""
    _check_keys(table, TrainingArguments, _simple_types(TrainingArguments))
    for key in ("per_device_train_batch_size", "gradient_accumulation_steps"):
        value = table.mapping.get(key)
        if isinstance(value, int) and value < 1:
            table.fault(key, f"got {value!r} (int), expected an integer of at least 1")


def _check_dtypes(table: Table, keys: tuple[str, ...]) -> None:
    """Note where one of `keys` does not name a type of tensors; `auto` is the checkpoint's own."""
    for key in keys:
        value = table.mapping.get(key, "auto")
        if value != "auto" and not isinstance(getattr(torch, str(value), None), torch.dtype):
            table.fault(key, f"got {value!r} ({type(value).__name__}), expected the name of a torch type, such as 'bfloat16'")


def _check_peft(table: Table) -> None:
    """Note what is wrong with `[peft]`, whose keys depend on its `peft_type`."""
    kinds = {str(getattr(kind, "value", kind)): config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    kind = table.choice("peft_type", kinds, _PEFT_DEFAULTS["peft_type"])
    if kind in kinds:
        _check_keys(table, kinds[kind], _simple_types(kinds[kind]))


def _check_keys(table: Table, cls: Callable[..., object], hints: Mapping[str, Any]) -> None:
    """Note keys that a class or a function does not take, and values that are not of its type, where that is a plain one."""
    for key, value in table.mapping.items():
        if key not in hints:
            table.fault(key, f"unknown key, expected an argument of {cls.__name__}{did_you_mean(key, tuple(hints))}")
        elif not _accepts(hints[key], value):
            table.fault(key, f"got {value!r} ({type(value).__name__}), expected {_type_text(hints[key])}")


def _simple_types(cls: type) -> dict[str, Any]:
    """Return the type of each argument that the constructor of a dataclass takes."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls) if field.init}


def _untyped(cls: Callable[..., object]) -> dict[str, Any]:
    """Return the arguments that a constructor or a method names, each as one of any type."""
    parameters = inspect.signature(cls).parameters.values()
    named = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
    return dict.fromkeys((name for name in named if name != "self"), Any)


def _accepts(hint: Any, value: object) -> bool:
    """Whether `value` is of type `hint`; types other than numbers, booleans, strings and None accept all."""
    if get_origin(hint) in (Union, UnionType):
        return any(_accepts(member, value) for member in get_args(hint))
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (bool, str, NoneType) else True


def _type_text(hint: Any) -> str:
    """Return a type as Python writes it: `int`, `str | None`."""
    return hint.__name__ if isinstance(hint, type) else str(hint)
