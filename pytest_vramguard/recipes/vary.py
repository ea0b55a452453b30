"""A recipe with another sequence length or batch size, and the search for the largest that does."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_vramguard.recipes.recipe import Recipe

Quantity: TypeAlias = Literal["seq_len", "batch_size"]
QUANTITIES: Final = ("seq_len", "batch_size")
BATCH_SIZE: Final = "per_device_train_batch_size"
DEFAULT_BATCH_SIZE: Final = 8
"""Source: transformers 5.23, `TrainingArguments.per_device_train_batch_size`."""
DEFAULT_LENGTH: Final = 512
"""Where the search begins if the rows of a file are not cut."""


def varied(recipe: Recipe, quantity: Quantity, value: int) -> Recipe:
    """Return `recipe` with samples of `value` tokens, padding included, or with `value` samples in each batch on a device."""
    if quantity == "batch_size":
        return recipe.with_overrides(training={BATCH_SIZE: value})
    if recipe.data.path is None:
        return recipe.with_overrides(data={"synthetic_length": value, "max_length": None, "padding": None})
    return recipe.with_overrides(data={"max_length": value, "padding": "max_length"})


def own_value(recipe: Recipe, quantity: Quantity) -> int:
    """Return what `recipe` itself says, or what holds where it says nothing."""
    if quantity == "batch_size":
        return int(recipe.training.get(BATCH_SIZE, DEFAULT_BATCH_SIZE))
    return recipe.data.synthetic_length or recipe.data.max_length or DEFAULT_LENGTH


def largest(fits: Callable[[int], bool], *, low: int, high: int | None, start: int) -> int:
    """Return the largest value from `low` to `high` (None: without end) that fits, or 0 if `low` does not.

    Begins at `start`, doubles as long as that fits, then halves what is left. What is above a value that does not fit is not
    tried.

    Raises:
        ValueError: `low` is below 1 or above `high`.
    """
    if low < 1 or (high is not None and high < low):
        raise ValueError(f"low, high: got {low} and {high}, expected 1 <= low <= high")
    fitting, tried = low - 1, max(start, low) if high is None else min(max(start, low), high)
    while fits(tried):
        fitting = tried
        if tried == high:
            return tried
        tried = 2 * tried if high is None else min(2 * tried, high)
    open_values = range(fitting + 1, tried)
    fitting += bisect_left(open_values, True, key=lambda value: not fits(value))  # noqa: FBT003 (the answer that is sought)
    return fitting if fitting >= low else 0
