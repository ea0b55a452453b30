"""What Python's collector is spared, and what it finds all the same."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from pytest_vramguard.collector import collector_at_rest, search_for_the_last_time

if TYPE_CHECKING:
    from collections.abc import Callable


class Node:
    """An object that can be in a circle."""

    def __init__(self) -> None:
        """Hold itself."""
        self.itself = self


@pytest.mark.parametrize(("switch", "before"), [(gc.enable, True), (gc.disable, False)])
def test_collector_goes_on_as_before(switch: Callable[[], None], *, before: bool) -> None:
    """It rests inside, and is on or off afterwards as it was."""
    switch()
    try:
        with collector_at_rest():
            inside = gc.isenabled()
        assert (False, before) == (inside, gc.isenabled())
    finally:
        gc.enable()


def test_what_was_made_at_rest_is_old() -> None:
    """It is in the oldest generation, which is searched last, and is found there once it is garbage."""
    with collector_at_rest():
        node = Node()
    young = any(found is node for generation in (0, 1) for found in gc.get_objects(generation=generation))
    alive = weakref.ref(node)
    del node
    gc.collect()

    assert (False, None) == (young, alive())


def test_last_search_finds_garbage_and_ends_searching() -> None:
    """Garbage of before is let go; what lives is not looked at until it is thawed."""
    garbage = weakref.ref(Node())
    node = Node()
    alive = weakref.ref(node)
    search_for_the_last_time()
    try:
        del node
        gc.collect()
        assert (None, True) == (garbage(), alive() is not None)
    finally:
        gc.unfreeze()
    gc.collect()

    assert alive() is None
