"""The meter of one case: the same for a real and an emulated card, since it only speaks `torch.cuda` and NVML."""

from __future__ import annotations

import gc
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

import torch

from pytest_vramguard.meter.memory_errors import release_last_error
from pytest_vramguard.meter.parts import PartsWatch
from pytest_vramguard.meter.peaks import PeakWatch, Scope, peaks_kept, reset_peaks
from pytest_vramguard.meter.steps import timed_step
from pytest_vramguard.reading import Measurement, OutOfMemory, PhasePeak

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_vramguard.reading import StepSample

FIRST_STEP: Final = "first step"
STEADY: Final = "steady"


class Meter:
    """Measures the code between `begin` and `end`; phases and steps inside are measured apart."""

    def __init__(self, *, timed: bool, warmup_steps: int, target_context_bytes: int, measures_context: bool) -> None:
        """Prepare to measure.

        `timed`: whether steps have a time here. The first `warmup_steps` of them are not timed, and only they are looked into
        for parts, since that takes time; where nothing is timed, all are. `target_context_bytes` stands in where memory outside
        the allocator is not to be measured, or cannot be.
        """
        self._timed = timed
        self._warmup_steps = warmup_steps
        self._target_context_bytes = target_context_bytes
        self._measures_context = measures_context
        self._peaks = PeakWatch()
        self._parts = PartsWatch()
        self._stack = ExitStack()
        self._case = Scope(name="the case")
        self._scopes: list[Scope] = []
        self._samples: list[StepSample] = []
        self._step_count = 0
        self._after_step_bytes: list[int] = []
        self._broken_phase: str | None = None
        self._base_allocated_bytes = 0
        self._base_reserved_bytes = 0
        self._retries_before = 0
        self._full_before = 0

    def begin(self) -> None:
        """Note what is left of whatever ran before, and start to measure; `clean` comes before, and the device after that."""
        torch.cuda.init()
        reset_peaks()
        self._base_allocated_bytes = torch.cuda.memory_allocated()
        self._base_reserved_bytes = torch.cuda.memory_reserved()
        self._retries_before = _statistic("num_alloc_retries")
        self._full_before = _statistic("num_ooms")
        self._stack.enter_context(self._parts.watching())
        self._peaks.open(self._case)
        self._stack.enter_context(peaks_kept(self._peaks.fold))

    @property
    def leftover_bytes(self) -> int:
        """Live bytes that were there before this case."""
        return self._base_allocated_bytes

    @property
    def leftover_was_freed(self) -> bool:
        """Whether memory from before this case was given back during it: then no peak can be told apart from it."""
        return self._base_allocated_bytes > 0 and self._parts.history.strangers_freed > 0

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
            with timed_step(self._samples, tokens) if warm else nullcontext():
                yield
            self._parts.end_step()
            self._after_step_bytes.append(torch.cuda.memory_allocated() - self._base_allocated_bytes)

    @contextmanager
    def _scope(self, name: str) -> Iterator[None]:
        scope = Scope(name=name)
        self._scopes.append(scope)
        self._peaks.open(scope)
        try:
            yield
        except BaseException:
            self._note_broken(name)
            raise
        finally:
            self._peaks.close(scope)

    def end(self, error: BaseException | None) -> Measurement | OutOfMemory:
        """Stop to measure; `error` is the out-of-memory that ended the case, if one did."""
        if error is not None:
            self._note_broken(self._peaks.scopes[-1].name)
        self._peaks.close(self._case)
        self._stack.close()
        measured = self._measurement(self._case)
        if error is None:
            return measured
        return OutOfMemory(
            message=str(error),
            phase=self._broken_phase or self._case.name,
            peak_allocated_bytes=measured.peak_allocated_bytes,
            peak_reserved_bytes=measured.peak_reserved_bytes,
            context_bytes=measured.context_bytes,
            parts=measured.parts,
            phases=measured.phases,
            notes=measured.notes,
        )

    def _measurement(self, case: Scope) -> Measurement:
        peak_allocated_bytes = case.allocated_bytes - self._base_allocated_bytes
        return Measurement(
            peak_allocated_bytes=peak_allocated_bytes,
            peak_reserved_bytes=case.reserved_bytes - self._base_reserved_bytes,
            context_bytes=self._context_bytes(case),
            parts=self._parts.parts(peak_allocated_bytes),
            phases=tuple(self._phase_peak(scope) for scope in self._phases()),
            steps=tuple(self._samples),
            step_count=self._step_count,
            after_step_bytes=tuple(self._after_step_bytes),
            allocator_retries=_statistic("num_alloc_retries") - self._retries_before,
            out_of_memory_count=_statistic("num_ooms") - self._full_before,
            leftover_bytes=self._base_allocated_bytes,
            notes=tuple(self._notes(case)),
        )

    def _notes(self, case: Scope) -> Iterator[str]:
        if not self._timed:
            yield "no step time: nothing is computed on an emulated card"
        if self._measures_context and case.outside_bytes is None:
            yield "context bytes are the catalogue's: the driver does not say what this process uses"
        if self._parts.history.overflowed:
            yield "parts are incomplete: the allocator's history overflowed"

    def _context_bytes(self, scope: Scope) -> int:
        if self._measures_context and scope.outside_bytes is not None:
            return scope.outside_bytes
        return self._target_context_bytes

    def _phase_peak(self, scope: Scope) -> PhasePeak:
        reserved_bytes = scope.reserved_bytes - self._base_reserved_bytes
        return PhasePeak(
            name=scope.name,
            peak_allocated_bytes=scope.allocated_bytes - self._base_allocated_bytes,
            peak_reserved_bytes=reserved_bytes,
            peak_device_bytes=reserved_bytes + self._context_bytes(scope),
        )

    def _phases(self) -> Iterable[Scope]:
        """Return one scope for each name, in the order of first appearance."""
        phases: dict[str, Scope] = {}
        for scope in self._scopes:
            phases[scope.name] = phases[scope.name].joined(scope) if scope.name in phases else scope
        return phases.values()

    def _note_broken(self, name: str) -> None:
        """Remember the innermost phase that an exception left, and who owned what while its frames are alive."""
        if self._broken_phase is None:
            self._broken_phase = name
            self._parts.search_modules()


def clean() -> None:
    """Give back everything that nobody holds any more, so that a case does not pay for the one before it.

    Garbage is searched for only while memory of a card is held: with the training stack loaded that takes half a second.
    """
    if not torch.cuda.is_initialized():
        return
    release_last_error()
    if any(torch.cuda.memory_allocated(card) for card in range(torch.cuda.device_count())):
        gc.collect()
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()


def _statistic(name: str) -> int:
    return int(torch.cuda.memory_stats().get(name, 0))
