"""Recipes: what is trained and how. Reading one loads no heavy library, training one loads them all."""

from pytest_vramguard.recipes.recipe import DataTable, DistributedTable, Recipe, load_recipe
from pytest_vramguard.recipes.train import load_stack, train
from pytest_vramguard.recipes.watch import Watch

__all__ = ["DataTable", "DistributedTable", "Recipe", "Watch", "load_recipe", "load_stack", "train"]
