"""The way to the runner from modules that must not load the training stack before a recipe is trained."""

from __future__ import annotations

import atexit
import gc
from functools import cache
from typing import TYPE_CHECKING

from pytest_vramguard.collector import collector_at_rest

if TYPE_CHECKING:
    from pytest_vramguard.recipes.recipe import Recipe
    from pytest_vramguard.recipes.watch import Watch


def train(recipe: Recipe, *, steps: int, watch: Watch) -> None:
    """Train `recipe` as `runner.run` does, after loading the stack if it is not loaded yet."""
    load_stack()
    from pytest_vramguard.recipes.runner import run

    run(recipe, steps=steps, watch=watch)


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
