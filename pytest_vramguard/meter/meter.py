"""The meter of one case: the same for a real and an emulated card, since it only speaks `torch.cuda` and NVML."""

from __future__ import annotations

import gc
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import torch

from pytest_vramguard.meter.blocks import BlockHistory, history_is_kept
from pytest_vramguard.meter.memory_errors import full_device_in, release_last_error
from pytest_vramguard.meter.parts import PartsWatch
from pytest_vramguard.meter.peaks import Peaks, PeakWatch, Scope, devices_in_use, peaks_kept, reset_peaks
from pytest_vramguard.meter.sensors import sensors_of
from pytest_vramguard.meter.sites import SiteReader
from pytest_vramguard.meter.steps import around_each_optimizer_step, timed_step
from pytest_vramguard.reading import Measurement, OutOfMemory, PhasePeak

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from torch.optim import Optimizer

    from pytest_vramguard.meter.sensors import Sensors
    from pytest_vramguard.reading import StepSample

FIRST_STEP: Final = "first step"
STEADY: Final = "steady"
OPTIMIZER: Final = "optimizer"
"""The first step of each optimizer, in which it makes its states; it lies inside the first step of the training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Books:
    """The allocator's books of one device at a moment."""

    allocated_bytes: int = 0
    reserved_bytes: int = 0
    retries: int = 0
    full_count: int = 0

    @classmethod
    def on(cls, device: int) -> Books:
        """Read the books of `device`."""
        statistics = torch.cuda.memory_stats(device)
        return cls(
            allocated_bytes=torch.cuda.memory_allocated(device),
            reserved_bytes=torch.cuda.memory_reserved(device),
            retries=int(statistics.get("num_alloc_retries", 0)),
            full_count=int(statistics.get("num_ooms", 0)),
        )


class Meter:
    """Measures the code between `begin` and `end`; phases and steps inside are measured apart."""

    def __init__(  # noqa: PLR0913 (what a measurement is made of)
        self,
        *,
        timed: bool,
        warmup_steps: int,
        target_context_bytes: int,
        measures_context: bool,
        counted_step: Callable[[], AbstractContextManager[None]] = nullcontext,
        sites_below: Path | None = None,
        keeps_events: bool = False,
    ) -> None:
        """Prepare to measure.

        `timed`: whether steps have a time here. The first `warmup_steps` of them are not timed, and only they are looked into
        for parts, since that takes time; where nothing is timed, all are. `target_context_bytes` stands in where memory outside
        the allocator is not to be measured, or cannot be. Each step but the first runs inside a `counted_step`. `sites_below`:
        also say which lines and modules allocate, with paths from this folder; `keeps_events`: also keep all that torch
        records, for `snapshot`.
        """
        self._timed = timed
        self._warmup_steps = warmup_steps
        self._target_context_bytes = target_context_bytes
        self._measures_context = measures_context
        self._counted_step = counted_step
        self._peaks = PeakWatch()
        sites = None if sites_below is None else SiteReader(folder=sites_below)
        self._parts = PartsWatch(history=BlockHistory(sites=sites, kept=[] if keeps_events else None))
        self._stack = ExitStack()
        self._case = Scope(name="the case")
        self._scopes: list[Scope] = []
        self._samples: list[StepSample] = []
        self._sensors: Sensors | None = None
        self._step_count = 0
        self._after_step_bytes: dict[int, list[int]] = {}
        self._broken_phases: tuple[str, ...] = ()
        self._optimizers: WeakKeyDictionary[Optimizer, Scope] = WeakKeyDictionary()
        self._before: dict[int, Books] = {}

    def begin(self) -> None:
        """Note what is left of whatever ran before, and start to measure; `clean` comes before, and the device after that."""
        torch.cuda.init()
        self._sensors = sensors_of(torch.cuda.current_device()) if self._timed else None
        reset_peaks()
        self._before = {device: Books.on(device) for device in devices_in_use()}
        self._stack.enter_context(self._parts.watching())
        self._peaks.open(self._case)
        self._stack.enter_context(peaks_kept(self._peaks.fold))
        self._stack.enter_context(around_each_optimizer_step(self._begin_states, self._end_states))

    @property
    def leftover_bytes(self) -> int:
        """Live bytes that were there before this case."""
        return sum(before.allocated_bytes for before in self._before.values())

    @property
    def has_measured(self) -> bool:
        """Whether a phase or a step has begun."""
        return bool(self._scopes)

    @property
    def leftover_was_freed(self) -> bool:
        """Whether memory from before this case was given back during it: then no peak can be told apart from it."""
        return self.leftover_bytes > 0 and self._parts.history.strangers_freed > 0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure the code inside under `name`; several stretches of one name are one phase."""
        with self._scope(name):
            yield
            self._parts.search_modules()

    @contextmanager
    def step(self, tokens: int | None = None) -> Iterator[None]:
        """Measure the code inside as one training step; the first is a phase of its own."""
        warm = self._timed and self._step_count >= self._warmup_steps
        if warm:
            self._parts.rest()
        self._step_count += 1
        self._parts.begin_step()
        with self._scope(FIRST_STEP if self._step_count == 1 else STEADY):
            counted = self._counted_step if self._step_count > 1 else nullcontext
            with timed_step(self._samples, tokens, self._sensors) if warm else nullcontext(), counted():
                yield
            self._parts.end_step()
            for device in devices_in_use():
                held_bytes = torch.cuda.memory_allocated(device) - self._before_on(device).allocated_bytes
                self._after_step_bytes.setdefault(device, []).append(held_bytes)

    @contextmanager
    def _scope(self, name: str) -> Iterator[None]:
        scope = Scope(name=name)
        self._scopes.append(scope)
        self._peaks.open(scope)
        try:
            yield
        except BaseException:
            self._note_broken()
            raise
        finally:
            self._peaks.close(scope)

    def _begin_states(self, optimizer: Optimizer) -> None:
        """Open the phase in which an optimizer makes its states, unless it has made them."""
        if optimizer not in self._optimizers:
            scope = self._optimizers[optimizer] = Scope(name=OPTIMIZER)
            self._scopes.append(scope)
            self._peaks.open(scope)

    def _end_states(self, optimizer: Optimizer) -> None:
        """Close that phase, if it is open."""
        if optimizer in self._optimizers:  # else it was in the middle of its step when measuring began
            self._peaks.close(self._optimizers[optimizer])

    def end(self, error: BaseException | None) -> Measurement | OutOfMemory:
        """Stop to measure and return what there is of the fullest device, or of the one that was full.

        `error` is the out-of-memory that ended the case, if one did.
        """
        readings = self.end_each(error).values()
        return max(readings, key=lambda reading: (isinstance(reading, OutOfMemory), reading.peak_device_bytes))

    def end_each(self, error: BaseException | None) -> dict[int, Measurement | OutOfMemory]:
        """Stop to measure and return what there is of each device that memory was reserved on; at least of the current one."""
        if error is not None:
            self._note_broken()
        self._peaks.close(self._case)
        self._stack.close()
        used = [device for device, peaks in self._case.seen.items() if peaks.reserved_bytes > 0]
        measured = {device: self._measurement(device) for device in used or [torch.cuda.current_device()]}
        if error is None:
            return {**measured}
        full = full_device_in(error)
        full = full if full in measured else max(measured, key=lambda device: measured[device].peak_device_bytes)
        return {**measured, full: self._out_of_memory(full, measured[full], error)}

    def _out_of_memory(self, device: int, measured: Measurement, error: BaseException) -> OutOfMemory:
        return OutOfMemory(
            message=str(error),
            phase=next(iter(self._broken_phases), self._case.name),
            phases_around=self._broken_phases[1:],
            refused=self._parts.history.refused.get(device) if isinstance(error, torch.cuda.OutOfMemoryError) else None,
            peak_allocated_bytes=measured.peak_allocated_bytes,
            peak_reserved_bytes=measured.peak_reserved_bytes,
            context_bytes=measured.context_bytes,
            parts=measured.parts,
            phases=measured.phases,
            origins=measured.origins,
            notes=measured.notes,
        )

    def _measurement(self, device: int) -> Measurement:
        before, after, peaks = self._before_on(device), Books.on(device), self._case.on(device)
        peak_allocated_bytes = peaks.allocated_bytes - before.allocated_bytes
        at_peak = self._parts.at_peak(device)
        return Measurement(
            peak_allocated_bytes=peak_allocated_bytes,
            peak_reserved_bytes=peaks.reserved_bytes - before.reserved_bytes,
            context_bytes=self._context_bytes(peaks),
            parts=self._parts.parts(at_peak, peak_allocated_bytes),
            phases=tuple(self._phase_peak(scope.name, scope.on(device), before) for scope in self._phases()),
            steps=tuple(self._samples),
            step_count=self._step_count,
            after_step_bytes=tuple(self._after_step_bytes.get(device, ())),
            allocator_retries=after.retries - before.retries,
            out_of_memory_count=after.full_count - before.full_count,
            leftover_bytes=before.allocated_bytes,
            notes=tuple(self._notes(peaks)),
            origins=self._parts.origins(at_peak),
        )

    def snapshot(self) -> dict[str, Any] | None:
        """Return what was recorded as `torch.cuda.memory._snapshot` tells it; None unless events are kept."""
        kept = self._parts.history.kept
        return {**self._parts.account, "device_traces": kept} if kept else None

    def _before_on(self, device: int) -> Books:
        """Return what there was on a device; nothing if it was not in use then."""
        return self._before.get(device, Books())

    def _notes(self, peaks: Peaks) -> Iterator[str]:
        if not self._timed:
            yield "no step time: nothing is computed on an emulated card"
        elif self._sensors is None:
            yield "the card's sensors cannot be asked here: a step on a throttled or shared card is not known to be void"
        if self._measures_context and peaks.outside_bytes is None:
            yield "context bytes are the catalogue's: the driver does not say what this process uses"
        if not history_is_kept():
            yield "memory is not divided into parts: the allocator backend:cudaMallocAsync keeps no history"
        if self._parts.history.overflowed:
            yield "parts are incomplete: the allocator's history overflowed"

    def _context_bytes(self, peaks: Peaks) -> int:
        if self._measures_context and peaks.outside_bytes is not None:
            return peaks.outside_bytes
        return self._target_context_bytes

    def _phase_peak(self, name: str, peaks: Peaks, before: Books) -> PhasePeak:
        reserved_bytes = max(peaks.reserved_bytes - before.reserved_bytes, 0)
        return PhasePeak(
            name=name,
            peak_allocated_bytes=max(peaks.allocated_bytes - before.allocated_bytes, 0),
            peak_reserved_bytes=reserved_bytes,
            peak_device_bytes=reserved_bytes + self._context_bytes(peaks),
        )

    def _phases(self) -> Iterable[Scope]:
        """Return one scope for each name, in the order of first appearance."""
        phases: dict[str, Scope] = {}
        for scope in self._scopes:
            phases[scope.name] = phases[scope.name].joined(scope) if scope.name in phases else scope
        return phases.values()

    def _note_broken(self) -> None:
        """Remember the phases that an exception left, innermost first, and who owned what while its frames are alive."""
        if not self._broken_phases:
            self._broken_phases = tuple(scope.name for scope in reversed(self._peaks.scopes) if scope is not self._case)
            self._parts.search_modules()


def clean() -> None:
    """Give back everything that nobody holds any more, so that a case does not pay for the one before it.

    Garbage is searched for only while memory of a card is held: with the training stack loaded that takes half a second.
    """
    if not torch.cuda.is_initialized():
        return
    release_last_error()
    torch._C._cuda_clearCublasWorkspaces()
    if any(torch.cuda.memory_allocated(card) for card in range(torch.cuda.device_count())):
        gc.collect()
    torch.cuda.empty_cache()
