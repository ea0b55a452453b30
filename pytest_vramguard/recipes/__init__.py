"""Recipes: what is trained and how, read without any heavy library; and, in `runner`, how it is run with them all."""

from pytest_vramguard.recipes.recipe import DataTable, Recipe, load_recipe
from pytest_vramguard.recipes.watch import Watch

__all__ = ["DataTable", "Recipe", "Watch", "load_recipe"]
