"""A recipe small enough to train on the CPU, for tests to change, and a watch that shows what it was told."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_vramguard.recipes import Recipe, load_recipe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Return a recipe of a model of two small layers, trained with LoRA on the CPU."""
    path = tmp_path / "recipe.toml"
    path.write_text(
        """
        [model]
        pretrained_model_name_or_path = "ours"
        dtype = "float32"
        [model.config]
        model_type = "llama"
        vocab_size = 3000
        hidden_size = 32
        intermediate_size = 64
        num_hidden_layers = 2
        num_attention_heads = 2
        [peft]
        target_modules = ["q_proj"]
        [training]
        use_cpu = true
        per_device_train_batch_size = 2
        [data]
        synthetic_length = 8
        """,
        encoding="utf-8",
    )
    return load_recipe(path)


class ListWatch:
    """A watch that writes down what it is told."""

    def __init__(self) -> None:
        """Start with nothing written."""
        self.events: list[str] = []

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Write down both ends."""
        return self._noted(name)

    def step(self, tokens: int | None) -> AbstractContextManager[None]:
        """Write down both ends, and the number of tokens."""
        return self._noted(f"step of {tokens}")

    @contextmanager
    def _noted(self, name: str) -> Iterator[None]:
        """Write down how the block begins and ends."""
        self.events.append(name)
        try:
            yield
        except Exception as exc:
            self.events.append(f"{name} raised {type(exc).__name__}")
            raise
        self.events.append(f"{name} ended")


@pytest.fixture
def watch() -> ListWatch:
    """Return a watch that writes down what it is told."""
    return ListWatch()
