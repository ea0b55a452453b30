"""What a recipe does with the model that it has trained: evaluate, generate, save, merge. Each is a phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pytest_vramguard.errors import RecipeError
from pytest_vramguard.recipes.arguments import refusals
from pytest_vramguard.recipes.data import evaluation_data, synthetic_rows
from pytest_vramguard.recipes.sparse_files import sparse_files

if TYPE_CHECKING:
    from transformers import Trainer

    from pytest_vramguard.recipes.data import DataSource
    from pytest_vramguard.recipes.recipe import DataTable, GenerationTable, Recipe
    from pytest_vramguard.recipes.watch import Watch


def use_trained(recipe: Recipe, trainer: Trainer, source: DataSource, watch: Watch) -> None:
    """Do what `recipe` asks for after its steps; merging comes last, since it takes the adapter away.

    Raises:
        RecipeError: if the recipe asks for what the training stack refuses.
        torch.OutOfMemoryError: if the card is full.
    """
    if recipe.eval_data is not None:
        _evaluate(trainer, recipe.eval_data, source, watch)
    if recipe.generation is not None:
        _generate(recipe, trainer, recipe.generation, source, watch)
    if recipe.saves:
        with watch.phase("save"), sparse_files():
            trainer.save_model()
    if recipe.merge is not None:
        _merge(recipe, trainer, recipe.merge, watch)


def no_metrics(_predictions: object) -> dict[str, float]:
    """Return no metrics; a Trainer that has this for `compute_metrics` keeps the predictions of every batch all the same."""
    return {}


def _evaluate(trainer: Trainer, table: DataTable, source: DataSource, watch: Watch) -> None:
    data = evaluation_data(table, source)
    trainer.data_collator = data.collator
    with watch.phase("eval"):
        trainer.evaluate(data.samples)  # type: ignore[arg-type] # any map-style dataset will do, as for training


def _generate(recipe: Recipe, trainer: Trainer, table: GenerationTable, source: DataSource, watch: Watch) -> None:
    """Generate as many tokens as are allowed: which of them would end a sequence is not known on an emulated card."""
    model: Any = trainer.model
    rows = synthetic_rows(table.batch_size, table.prompt_length, source)
    prompts_BT = torch.tensor(rows, device=trainer.args.device)  # noqa: N806 (batch, tokens)
    config = {**table.config, "eos_token_id": None}
    with watch.phase("generate"), refusals(recipe, "generation"):
        model.eval()
        generated = model.generate(input_ids=prompts_BT, attention_mask=torch.ones_like(prompts_BT), **config)
    _check_length(recipe, table, getattr(generated, "sequences", generated).shape[1] - table.prompt_length)


def _check_length(recipe: Recipe, table: GenerationTable, tokens: int) -> None:
    """Refuse a generation that ended early: its peak would be that of a shorter one."""
    expected = table.config["max_new_tokens"]
    if tokens != expected:
        raise RecipeError(
            f"{recipe.source}: generation: ended after {tokens} tokens, expected {expected}, as values that are computed"
            " on a real card alone may end it; drop what looks at them, such as num_beams or stop_strings"
        )


def _merge(recipe: Recipe, trainer: Trainer, arguments: Any, watch: Watch) -> None:
    model: Any = trainer.model
    if not hasattr(model, "merge_and_unload"):
        kind = model.active_peft_config.peft_type.value
        raise RecipeError(f"{recipe.source}: merge: an adapter of type {kind} cannot be merged; drop [merge]")
    with watch.phase("merge"), refusals(recipe, "merge"):
        merged = model.merge_and_unload(**arguments)
    del merged  # alive until the phase had ended, so that its memory has an owner
