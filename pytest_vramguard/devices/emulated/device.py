"""The emulated card as a device."""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from pytest_vramguard.devices.emulated import libraries
from pytest_vramguard.devices.emulated.compiler_cache import empty_compiler_cache
from pytest_vramguard.devices.emulated.device_facts import facts_of
from pytest_vramguard.devices.emulated.evidence import absence_notes, communication_notes, gaps_in, notes_in
from pytest_vramguard.devices.emulated.known.reads import ReadLog
from pytest_vramguard.devices.emulated.requirements import require_emulation, require_torch
from pytest_vramguard.devices.emulated.work import WorkWatch
from pytest_vramguard.errors import DeviceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from pytest_vramguard.cards import Card
    from pytest_vramguard.devices.emulated.known.mode import KnownValues
    from pytest_vramguard.reading import OutsideMemory, Work
    from pytest_vramguard.report import DeviceFacts

NO_DEVICES: Final = ("", "-1")
"""Values of `CUDA_VISIBLE_DEVICES` that name no card."""


class EmulatedDevice:
    """A card that keeps the books instead of computing: real allocator, real statistics, real out-of-memory, no GPU."""

    timed = False
    description = "emulated (no kernel runs, memory is counted)"

    def __init__(self) -> None:
        """Start without a card; `enter` places the first."""
        self._card: Card | None = None
        self._reads = ReadLog()
        self._values: KnownValues | None = None
        self._watch: WorkWatch | None = None
        self._counted: Mapping[str, int] = {}
        self._rank_notes: tuple[str, ...] = ()

    def enter(self, card: Card) -> None:
        """Load the emulated libraries with `card`."""
        require_emulation()
        cuda_major = require_torch()
        # transformers loads weights in several threads, whose allocations come in an order that is luck: with one, two runs
        # are equal to the byte.
        os.environ.setdefault("HF_DEACTIVATE_ASYNC_LOAD", "1")
        # Processes that the compiler of torch 2.7 to 2.13 starts to write kernels have no card to write them for.
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        # An empty list hides real cards from torch, and would hide the emulated one too.
        if os.environ.get("CUDA_VISIBLE_DEVICES") in NO_DEVICES:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        libraries.load(cuda_major)
        libraries.place(card)
        self._card = card

    def place(self, target: Card) -> None:
        """Change the card, if it is another one, and start a new list of gaps."""
        from pytest_vramguard.devices.emulated import torch_caches
        from pytest_vramguard.devices.emulated.kernels import require_kernels

        require_kernels(target)
        if target != self._card:
            libraries.place(target)
            self._card = target
        torch_caches.refresh(target.name, target.usable_bytes)
        libraries.forget_refused()
        libraries.reset_peaks()
        self._counted = libraries.counted()
        self._rank_notes = ()

    def context_bytes(self, target: Card) -> None:
        """Return None: the emulated driver accounts for them, so they are measured like a real card's."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run with the values that shape the computation kept real, and nothing compiled yet."""
        from pytest_vramguard.devices.emulated.compiler_guards import guards_made_below
        from pytest_vramguard.devices.emulated.known.mode import KnownValues
        from pytest_vramguard.devices.emulated.known.watch import watching

        self._values = values = KnownValues()
        self._reads = values.log
        self._watch = WorkWatch(values)
        with empty_compiler_cache(), guards_made_below(values), watching(values):
            yield

    def counted_step(self) -> AbstractContextManager[None]:
        """Return a context that counts what is asked of the libraries."""
        return nullcontext() if self._watch is None else self._watch.step()

    def work(self) -> Work | None:
        """Return what was counted; None if nothing ran yet."""
        return None if self._watch is None else self._watch.work

    @contextmanager
    def ranked(self, rank: int, world_size: int) -> Iterator[None]:
        """Run as one rank; the others are taken to hand in what this one does."""
        from pytest_vramguard.devices.emulated.one_rank import one_rank

        if self._values is None:
            message = f"rank {rank} of {world_size}: nothing runs on the emulated card yet; use running first"
            raise DeviceUnavailable(message)
        self._values.run_alone((rank,))
        with one_rank(rank, world_size):
            try:
                yield
            finally:
                self._rank_notes = (*communication_notes(0, self._counted), *absence_notes(world_size, (rank,)))

    def gaps(self) -> tuple[str, ...]:
        """Return the functions that are not emulated, and the shapes that only a real card could know."""
        return gaps_in(self._reads)

    def notes(self) -> tuple[str, ...]:
        """Return where values were read that nobody computed."""
        return (*notes_in(self._reads), *self._rank_notes)

    def outside(self) -> OutsideMemory:
        """Return the managed and page-locked memory in the books."""
        return libraries.outside()

    def facts(self) -> DeviceFacts:
        """Describe the card in place."""
        card = self._card
        if card is None:
            message = "emulated card: none is in place; call enter first"
            raise DeviceUnavailable(message)
        return facts_of(card)
