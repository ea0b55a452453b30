"""The way to the runner from modules that must not load the training stack before a recipe is trained."""

from __future__ import annotations

import atexit
import gc
from functools import cache
from typing import TYPE_CHECKING

from pytest_vramguard.collector import collector_at_rest
from pytest_vramguard.recipes.vary import QUANTITIES, largest, own_value, varied

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_vramguard.recipes.recipe import Recipe
    from pytest_vramguard.recipes.vary import Quantity
    from pytest_vramguard.recipes.watch import Watch


def train(recipe: Recipe, *, steps: int, watch: Watch, worst_batch: bool = False) -> None:
    """Train `recipe` as `runner.run` does, after loading the stack if it is not loaded yet."""
    load_stack()
    from pytest_vramguard.recipes.runner import run

    run(recipe, steps=steps, watch=watch, worst_batch=worst_batch)


def largest_that_fits(recipe: Recipe, quantity: Quantity, fits: Callable[[Recipe], bool], *, low: int, high: int | None) -> int:
    """Return the largest value of `quantity`, from `low` to `high`, with which `recipe` fits; 0 if `low` does not.

    Without `high`, sequences are no longer than the model has positions.

    Raises:
        RecipeError: as `train`.
        ValueError: `quantity` is another one, or as `vary.largest`.
    """
    if quantity not in QUANTITIES:
        raise ValueError(f"quantity: got {quantity!r}, expected one of {', '.join(QUANTITIES)}")
    limit = _positions(recipe) if high is None and quantity == "seq_len" else high
    start = own_value(recipe, quantity)
    return largest(lambda value: fits(varied(recipe, quantity, value)), low=low, high=limit, start=start)


def _positions(recipe: Recipe) -> int | None:
    """Return the longest sequence that the model has positions for; None where its config does not say."""
    load_stack()
    from pytest_vramguard.recipes.checkpoint import find_checkpoint
    from pytest_vramguard.recipes.releases import text_config

    positions: int | None = getattr(text_config(find_checkpoint(recipe).config), "max_position_embeddings", None)
    return positions


@cache
def load_stack() -> None:
    """Import torch, transformers, PEFT and bitsandbytes; the device must be in place.

    What they made is kept from the garbage collector when the process ends, where it would search for 2 seconds in vain.
    """
    with collector_at_rest():
        from pytest_vramguard.recipes.late_compile import compiled_when_called

        with compiled_when_called():
            import pytest_vramguard.recipes.runner  # noqa: F401 (imported for what it imports)
    atexit.register(gc.freeze)
