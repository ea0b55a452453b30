"""The time of a training step on a real card."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from pytest_vramguard.reading import StepSample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch.optim import Optimizer


@contextmanager
def timed_step(samples: list[StepSample], tokens: int | None) -> Iterator[None]:
    """Time the code inside by CUDA events and by the host clock, and add the sample to `samples` unless it raises.

    The card is synchronised at both ends, so that the host clock holds the whole step and nothing of the one before.
    """
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begun = time.perf_counter()
    start.record()
    yield
    end.record()
    torch.cuda.synchronize()
    host_seconds = time.perf_counter() - begun
    samples.append(StepSample(host_seconds=host_seconds, device_seconds=start.elapsed_time(end) / 1000, tokens=tokens))


def after_each_optimizer_step(call: Callable[[], None]) -> None:
    """Call `call` whenever any optimizer of this process has stepped, from now on."""
    register_optimizer_step_post_hook(lambda *_: call())


@contextmanager
def around_each_optimizer_step(before: Callable[[Optimizer], None], after: Callable[[Optimizer], None]) -> Iterator[None]:
    """Call `before` and `after` with each optimizer of this process that steps while the code inside runs.

    A step that raises has no `after`.
    """
    hooks = (
        register_optimizer_step_pre_hook(lambda optimizer, *_: before(optimizer)),
        register_optimizer_step_post_hook(lambda optimizer, *_: after(optimizer)),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
