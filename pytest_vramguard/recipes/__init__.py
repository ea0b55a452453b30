"""Recipes: what is trained and how. Reading one loads no heavy library, training one loads them all."""

from pytest_vramguard.recipes.recipe import DataTable, GenerationTable, Recipe, load_recipe
from pytest_vramguard.recipes.train import largest_that_fits, load_stack, train
from pytest_vramguard.recipes.vary import Quantity, varied
from pytest_vramguard.recipes.watch import Watch

__all__ = [
    "DataTable",
    "GenerationTable",
    "Quantity",
    "Recipe",
    "Watch",
    "largest_that_fits",
    "load_recipe",
    "load_stack",
    "train",
    "varied",
]
