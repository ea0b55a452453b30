"""Times that code asks of the emulated card, to choose by them: Triton's and Inductor's autotuning, or its own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def event_times_seen(note: Callable[[], None]) -> Iterator[None]:
    """Call `note` for each time between two `torch.cuda.Event` that is asked for inside."""
    elapsed_time = torch.cuda.Event.elapsed_time

    def noted(event: torch.cuda.Event, end_event: torch.cuda.Event) -> Any:
        note()
        return elapsed_time(event, end_event)

    torch.cuda.Event.elapsed_time = noted  # type: ignore[assignment,method-assign] # the one place that all go through
    try:
        yield
    finally:
        torch.cuda.Event.elapsed_time = elapsed_time  # type: ignore[method-assign] # as it was
