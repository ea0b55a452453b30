"""The Trainer callback that tells a watch where each optimizer step begins and ends."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from pytest_vramguard.recipes.watch import Watch


class StepCallback(TrainerCallback):
    """Opens `watch.step` at the first micro-batch of an optimizer step, and closes it when gradients are zeroed.

    For anybody's own Trainer: `Trainer(..., callbacks=[StepCallback(watch)])`. An exception inside a step leaves the step open;
    enter `open_step` around `train()` and the exception goes through it.
    """

    def __init__(self, watch: Watch, *, tokens: int | None = None) -> None:
        """Report to `watch`; `tokens` is the number of tokens in each step, where it is the same for all."""
        self._watch = watch
        self._tokens = tokens
        self.open_step = ExitStack()
        """Holds the step that is being trained, and nothing between steps."""

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_kwargs: Any) -> None:
        """Open a step; the Trainer calls it once for all micro-batches of an accumulation."""
        self.open_step.enter_context(self._watch.step(self._tokens))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_kwargs: Any) -> None:
        """Close the step; the optimizer has stepped and the gradients are gone."""
        self.open_step.close()
