"""When a watch is told of a step by a Trainer's callback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from pytest_vramguard.recipes.callback import StepCallback

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import ListWatch


def test_step_lasts_from_begin_to_end(watch: ListWatch, tmp_path: Path) -> None:
    """A step is open between the two events, with the stated number of tokens."""
    callback = StepCallback(watch, tokens=8)
    events = TrainingArguments(output_dir=str(tmp_path), use_cpu=True), TrainerState(), TrainerControl()

    callback.on_step_begin(*events)
    begun = list(watch.events)
    callback.on_step_end(*events)

    assert ["step of 8"] == begun
    assert ["step of 8", "step of 8 ended"] == watch.events


def test_exception_goes_through_the_open_step(watch: ListWatch, tmp_path: Path) -> None:
    """A watch sees what ended the step, if `open_step` is entered around the training."""
    callback = StepCallback(watch)
    events = TrainingArguments(output_dir=str(tmp_path), use_cpu=True), TrainerState(), TrainerControl()

    def train() -> None:
        with callback.open_step:
            callback.on_step_begin(*events)
            raise MemoryError

    with pytest.raises(MemoryError):
        train()

    assert ["step of None", "step of None raised MemoryError"] == watch.events
