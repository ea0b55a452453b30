"""The way to the runner from modules that must not load the training stack before a recipe is trained."""

from __future__ import annotations

import atexit
import gc
from functools import cache
from typing import TYPE_CHECKING

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

    The garbage collector would search the libraries' three million objects, which are no garbage, all the time: it rests during
    the imports (1 of 10 seconds) and finds nothing to do when the process ends (2 seconds; measured on 2 cores, Python 3.11).
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        from pytest_vramguard.recipes.late_compile import compiled_when_called

        with compiled_when_called():
            import pytest_vramguard.recipes.runner  # noqa: F401 (imported for what it imports)
    finally:
        if collecting:
            gc.enable()
    atexit.register(gc.freeze)
