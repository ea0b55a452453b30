"""What training a recipe from outside the room does first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_vramguard.recipes import train

if TYPE_CHECKING:
    from pytest_vramguard.recipes import Recipe

    from .conftest import ListWatch


def test_recipe_is_trained(recipe: Recipe, watch: ListWatch) -> None:
    """The runner is loaded and run."""
    train(recipe, steps=1, watch=watch)

    assert ["load", "load ended", "step of 16", "step of 16 ended"] == watch.events
