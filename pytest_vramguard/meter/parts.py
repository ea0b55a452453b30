"""What the memory at the peak was: weights, gradients, optimizer state, activations, other."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pytest_vramguard.meter.blocks import Block, BlockHistory, Owner, history_is_kept
from pytest_vramguard.meter.owners import gradients_of, module_memory, states_of
from pytest_vramguard.meter.steps import around_each_optimizer_step
from pytest_vramguard.reading import Parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.optim import Optimizer

MODULE_SEARCHES: Final = 2
"""How often steps may search the process for modules: what is alive after some steps stays so, and a search takes time."""


@dataclass(kw_only=True, slots=True)
class PartsWatch:
    """Follows the allocator's blocks and asks for their owners where a training loop is known to hold them.

    Gradients live just before an optimizer's step, its state just after; modules live at both moments, at the end of a step
    or phase, and where an exception passes.
    """

    history: BlockHistory = field(default_factory=BlockHistory)
    steps: list[tuple[int, int]] = field(default_factory=list)
    """First and last event of each finished step."""
    step_begun: int | None = None
    """First event of the unfinished step."""
    searches_left: int = MODULE_SEARCHES
    recording: bool = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Record while the code inside runs, or until `rest`; nothing where the allocator keeps no history."""
        if not history_is_kept():
            yield
            return
        self.history.start()
        self.recording = True
        try:
            with around_each_optimizer_step(self._before_optimizer, self._after_optimizer):
                yield
        finally:
            self.rest()

    def rest(self) -> None:
        """Record no more: what follows is to be timed, or is over."""
        if self.recording:
            self.history.take()
            self.history.stop()
            self.recording = False

    def search_modules(self) -> None:
        """Note what the living modules own; to be called while they are alive."""
        if self.recording:
            self.history.take()
            self.history.own(module_memory())

    def begin_step(self) -> None:
        """Note where a step begins."""
        if self.recording:
            self.history.take()
            self.step_begun = self.history.events

    def end_step(self) -> None:
        """Note where the step ends."""
        if not self.recording or self.step_begun is None:
            return
        self._search_sparingly()
        self.steps.append((self.step_begun, self.history.events))
        self.step_begun = None

    def parts(self, device: int, peak_allocated_bytes: int) -> Parts:
        """Divide `peak_allocated_bytes` of `device`; what the history cannot account for is `other`."""
        peak_event, alive = self.history.at_peak(device)
        owned = {owner: sum(block.size_bytes for block in alive if block.owner is owner) for owner in Owner}
        begun, ended = self._stretch_of(peak_event)
        passing = sum(block.size_bytes for block in alive if block.owner is None and _passes(block, begun, ended))
        return Parts(
            weights_bytes=owned[Owner.WEIGHTS],
            gradients_bytes=owned[Owner.GRADIENTS],
            optimizer_bytes=owned[Owner.OPTIMIZER],
            activations_bytes=passing,
            other_bytes=peak_allocated_bytes - sum(owned.values()) - passing,
        )

    def _before_optimizer(self, optimizer: Optimizer) -> None:
        if self.recording:
            self._search_sparingly()
            self.history.own(gradients_of(optimizer))

    def _after_optimizer(self, optimizer: Optimizer) -> None:
        if self.recording:
            self.history.take()
            self.history.own(states_of(optimizer))

    def _search_sparingly(self) -> None:
        self.history.take()
        if self.searches_left > 0:
            self.searches_left -= 1
            self.history.own(module_memory())

    def _stretch_of(self, event: int) -> tuple[int, int | None]:
        """Return first and last event (None: not ended) of the step around `event`; outside steps, of the whole history."""
        if self.step_begun is not None and event > self.step_begun:
            return self.step_begun, None
        for begun, ended in self.steps:
            if begun < event <= ended:
                return begun, ended
        return 0, self.history.events


def _passes(block: Block, begun: int, ended: int | None) -> bool:
    """Whether `block` was allocated in the stretch and given back by its end; a stretch that broke off gave nothing back."""
    return block.born > begun and (ended is None or (block.died is not None and block.died <= ended))
