"""What training a recipe from outside the room does first."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from pytest_vramguard.recipes import load_stack, train

if TYPE_CHECKING:
    import pytest

    from pytest_vramguard.recipes import Recipe

    from .conftest import ListWatch


def test_recipe_is_trained(recipe: Recipe, watch: ListWatch) -> None:
    """The runner is loaded and run."""
    train(recipe, steps=1, watch=watch)

    assert ["load", "load ended", "step of 16", "step of 16 ended"] == watch.events


def test_garbage_collector_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the stack leaves the collector as it was, on or off."""
    monkeypatch.setattr("atexit.register", lambda _function: None)
    load_stack.cache_clear()
    load_stack()
    on = gc.isenabled()
    gc.disable()
    load_stack.cache_clear()
    load_stack()
    off = gc.isenabled()
    gc.enable()

    assert (True, False) == (on, off)
