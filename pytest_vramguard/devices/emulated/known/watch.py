"""All that is watched while code runs on the emulated card."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_vramguard.devices.emulated import libraries
from pytest_vramguard.devices.emulated.known.event_times import event_times_seen
from pytest_vramguard.devices.emulated.known.printed import printed_from_host
from pytest_vramguard.devices.emulated.known.threads import entered_by_threads
from pytest_vramguard.devices.emulated.known.triton_writes import triton_writes_seen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_vramguard.devices.emulated.known.mode import KnownValues


@contextmanager
def watching(values: KnownValues) -> Iterator[None]:
    """Keep `values` real, whatever writes to them, and note in their log what is asked and not computed."""
    with (
        triton_writes_seen(values.known.forget),
        event_times_seen(values.log.note_time),
        entered_by_threads(values),
        printed_from_host(values),
        values,
    ):
        try:
            yield
        finally:
            libraries.listen(None)  # a step that never ended would be told of for ever, also while the interpreter goes down
