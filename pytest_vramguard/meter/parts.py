"""What the memory at the peak was: weights, gradients, optimizer state, activations, other."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from pytest_vramguard.meter.blocks import Block, BlockHistory, Owner, history_is_kept
from pytest_vramguard.meter.modules import running_modules_labelled
from pytest_vramguard.meter.origins import origins_of
from pytest_vramguard.meter.owners import Owners, held_by_workspaces
from pytest_vramguard.meter.steps import around_each_optimizer_step
from pytest_vramguard.reading import Origins, Parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch.optim import Optimizer

MODULE_SEARCHES: Final = 2
"""How often steps may search the process for modules: what is alive after some steps stays so, and a search takes time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AtPeak:
    """The blocks of a device at its peak."""

    device: int
    alive: list[Block]
    passing: list[Block]
    """Those of them that a step allocated and gave back."""


@dataclass(kw_only=True, slots=True)
class PartsWatch:
    """Follows the allocator's blocks and asks for their owners where a training loop is known to hold them.

    Gradients live just before an optimizer's step, its state just after; modules live at both moments, at the end of a step
    or phase, and where an exception passes.
    """

    history: BlockHistory = field(default_factory=BlockHistory)
    owners: Owners = field(default_factory=Owners)
    steps: list[tuple[int, int]] = field(default_factory=list)
    """First and last event of each finished step."""
    step_begun: int | None = None
    """First event of the unfinished step."""
    searches_left: int = MODULE_SEARCHES
    recording: bool = False
    account: Mapping[str, Any] = field(default_factory=dict)
    """What torch said of its memory when the recording ended."""
    _labelling: ExitStack = field(default_factory=ExitStack)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Record while the code inside runs, or until `rest`; nothing where the allocator keeps no history."""
        if not history_is_kept():
            yield
            return
        with self._labelling:
            if self.history.sites is not None:
                self._labelling.enter_context(running_modules_labelled())
            self.history.start()
            self.recording = True
            try:
                with around_each_optimizer_step(self._before_optimizer, self._after_optimizer):
                    yield
            finally:
                self.rest()
                self.history.own(held_by_workspaces())

    def rest(self) -> None:
        """Record no more: what follows is to be timed, or is over."""
        if self.recording:
            self.account = self.history.take()
            self.history.stop()
            self._labelling.close()
            self.recording = False

    def search_modules(self) -> None:
        """Note what the living modules own; to be called while they are alive."""
        if self.recording:
            self.history.take()
            self.history.own(self.owners.module_memory())

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

    def at_peak(self, device: int) -> AtPeak:
        """Return what the memory of `device` was at its peak."""
        peak_event, alive = self.history.at_peak(device)
        begun, ended = self._stretch_of(peak_event)
        passing = [block for block in alive if block.owner is None and _passes(block, begun, ended)]
        return AtPeak(device=device, alive=alive, passing=passing)

    def parts(self, peak: AtPeak, peak_allocated_bytes: int) -> Parts:
        """Divide `peak_allocated_bytes`; what the history cannot account for is `other`."""
        owned = {owner: sum(block.size_bytes for block in peak.alive if block.owner is owner) for owner in Owner}
        parts = Parts(
            weights_bytes=owned[Owner.WEIGHTS] + owned[Owner.ADAPTERS],
            gradients_bytes=owned[Owner.GRADIENTS],
            optimizer_bytes=owned[Owner.OPTIMIZER],
            activations_bytes=sum(block.size_bytes for block in peak.passing),
        )
        return replace(parts, other_bytes=peak_allocated_bytes - parts.total_bytes)

    def origins(self, peak: AtPeak) -> Origins | None:
        """Return where the memory at the peak came from; None unless sites are recorded."""
        if self.history.sites is None or not history_is_kept():
            return None
        return origins_of(peak.alive, peak.passing, self._survivors(peak.device), self.owners.output_paths)

    def _survivors(self, device: int) -> list[Block]:
        """Return the blocks from between the first step and the last one that outlived the last one."""
        if not self.steps:
            return []
        (_, first_ended), (last_begun, last_ended) = self.steps[0], self.steps[-1]
        return [
            block
            for block in self.history.blocks
            if block.device == device and first_ended < block.born <= last_begun and (block.died or last_ended + 1) > last_ended
        ]

    def _before_optimizer(self, optimizer: Optimizer) -> None:
        if self.recording:
            self._search_sparingly()
            self.history.own(self.owners.gradients_of(optimizer))

    def _after_optimizer(self, optimizer: Optimizer) -> None:
        if self.recording:
            self.history.take()
            self.history.own(self.owners.states_of(optimizer))

    def _search_sparingly(self) -> None:
        self.history.take()
        if self.searches_left > 0:
            self.searches_left -= 1
            self.history.own(self.owners.module_memory())

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
