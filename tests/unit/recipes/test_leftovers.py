"""What is let go of after a training."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from bitsandbytes import functional
from bitsandbytes.optim import GlobalOptimManager

from pytest_vramguard.recipes.leftovers import nothing_left


def test_bitsandbytes_forgets_embeddings() -> None:
    """An embedding that an 8-bit optimizer has registered is freed."""
    embedding = torch.nn.Embedding(2, 2)
    GlobalOptimManager.get_instance().register_module_override(embedding, "weight", {"optim_bits": 32})
    alive = weakref.ref(embedding)
    del embedding

    with nothing_left():
        pass

    assert alive() is None


def test_bitsandbytes_forgets_settings() -> None:
    """A setting by the id of a parameter does not reach a later parameter that has the same id."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    GlobalOptimManager.get_instance().override_config(parameter, "optim_bits", 32)

    with nothing_left():
        pass

    assert {} == GlobalOptimManager.get_instance().pid2config


def test_bitsandbytes_forgets_its_table() -> None:
    """The table for nested quantisation is not kept on the card."""
    functional.name2qmap["dynamic"] = torch.zeros(1)

    with nothing_left():
        pass

    assert {} == functional.name2qmap


def test_cycles_are_collected() -> None:
    """What holds itself alive is freed at the end of the block."""
    with nothing_left():
        module = torch.nn.ModuleList()
        module.append(module)
        alive = weakref.ref(module)
        del module

    assert alive() is None


def test_everything_goes_also_after_an_exception() -> None:
    """A run that fails leaves as little, and the garbage collector as it was."""

    def train() -> None:
        with nothing_left():
            functional.name2qmap["dynamic"] = torch.zeros(1)
            raise MemoryError

    with pytest.raises(MemoryError):
        train()

    assert {} == functional.name2qmap
    assert 0 == gc.get_freeze_count()
