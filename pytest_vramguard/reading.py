"""What came out of one case: a measurement, an out-of-memory, or nothing, with the reason.

Three peaks are told apart everywhere. *Allocated* is what live tensors held, *reserved* is what PyTorch's caching allocator
held, *device* is reserved plus everything outside the allocator (context, libraries), which is what nvidia-smi would show.
All sizes are integer bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Final, Literal, TypeAlias

from pytest_vramguard.statistics import warmup_count

CODE_WIDTH: Final = 60
"""Characters of a line of code that a message shows."""
WorkName: TypeAlias = Literal["launches", "syncs", "copied", "driver_allocations", "flops"]
"""A figure of the work of a step."""
SLOWDOWN_REASONS: Final = ("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")
"""Reasons for a lower clock that void a step: the card was slower than it is. `sw_power_cap` is none of them: under full load
it is the ordinary state of many cards. Source: nvidia-smi, clocks_event_reasons."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What live tensors were at the moment of peak allocation; the fields sum to `peak_allocated_bytes`."""

    weights_bytes: int = 0
    """Parameters and buffers of modules, adapters and quantisation constants included."""
    gradients_bytes: int = 0
    """The `.grad` of parameters."""
    optimizer_bytes: int = 0
    """State tensors of optimizers, as far as they lie in the caching allocator."""
    activations_bytes: int = 0
    """What a step allocated and gave back: saved activations, logits, temporaries."""
    other_bytes: int = 0
    """The rest: library workspaces, inputs, rounding to the allocator's blocks."""

    @property
    def total_bytes(self) -> int:
        """The sum of the parts."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A place that allocates: a line of the user's code and the library's line below it, or the backward pass of a module."""

    line: str = ""
    """Innermost line of code that is no library's: `train.py:41 in loss_of`; empty if there is none, as in a backward pass."""
    code: str = ""
    """The text of that line."""
    library: str = ""
    """Innermost line of a library, PyTorch's own only where there is no other: `transformers/loss/loss_utils.py:35 in loss`."""
    module: str = ""
    """Path of the module whose backward pass it is, which has no line, numbers collapsed; empty where that is not known."""

    @property
    def text(self) -> str:
        """What a reader is told: `train.py:41 in loss_of: loss = f(y.float()) (torch/nn/functional.py:9 in f)`."""
        if not self.line and not self.library:
            return f"the backward pass of {self.module}" if self.module else "a backward pass outside of modules"
        code = self.code if len(self.code) <= CODE_WIDTH else f"{self.code[:CODE_WIDTH]}..."
        place = f"{self.line}: {code}" if code else self.line
        return f"{place} ({self.library})" if place and self.library else place or self.library


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteBytes:
    """What blocks of one site held."""

    site: Site
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Origins:
    """Where the memory at the allocated peak came from, in whole blocks of the allocator; it need not sum to the peak."""

    adapters_bytes: int = 0
    """Weights of PEFT's layers, which are part of the weights."""
    logits_bytes: int = 0
    """Made by the output layer and by the model around it: logits, copies of them, the loss. Part of the activations."""
    workspace_bytes: int = 0
    """PyTorch's workspaces for cuBLAS, which are part of the rest."""
    modules: tuple[tuple[str, int], ...] = ()
    """Bytes by module path, the largest first: weights, gradients and states of its own, and what ran in it allocated."""
    sites: tuple[SiteBytes, ...] = ()
    """The largest sites, the largest first."""
    other_sites_bytes: int = 0
    """What all other sites held."""
    survivors: tuple[SiteBytes, ...] = ()
    """Sites of what steps after the first left behind until the end of the last one, the largest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutsideMemory:
    """Memory that a case used besides device memory, each kind at its largest."""

    managed_bytes: int
    """Managed memory (`cudaMallocManaged`), which paged optimizers keep their state in."""
    managed_host_bytes: int
    """What of it did not fit on the card beside everything else, and resides on the host; the rest is in the device peak."""
    pinned_bytes: int
    """Page-locked host memory, which pinned tensors and data loaders use; torch caches it, so earlier cases' may be in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhasePeak:
    """The peaks inside one named stretch of a case."""

    name: str
    """`load`, `first step`, `optimizer`, `steady`, `eval`, `generate`, `save`, `merge`, or a name given to `vram.phase`."""
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    peak_device_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSensors:
    """What the sensors of the card said during a step; None where the card has no such sensor."""

    lowest_clock_hz: int | None = None
    """Of the streaming multiprocessors."""
    highest_temperature_celsius: int | None = None
    highest_power_watts: float | None = None
    clock_reasons: tuple[str, ...] = ()
    """Why the clock was not the highest, under nvidia-smi's names: `sw_power_cap`, `hw_thermal_slowdown`."""
    other_process_count: int | None = None
    """Most other processes that computed on the card."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSample:
    """The time of one training step on a real card."""

    host_seconds: float
    """Host clock, synchronised at both ends."""
    device_seconds: float
    """CUDA events around the step."""
    tokens: int | None = None
    """Tokens in the step's batches, where the caller said so."""
    sensors: StepSensors | None = None
    """None where the driver could not be asked."""

    @property
    def void_reason(self) -> str | None:
        """Why the time says nothing about the code; None if it does."""
        if self.device_seconds <= 0:
            return "no time between the events"
        if self.sensors is None:
            return None
        slowed = [reason for reason in self.sensors.clock_reasons if reason in SLOWDOWN_REASONS]
        if slowed:
            return f"the card was throttled ({', '.join(slowed)})"
        return "other processes computed on the card" if self.sensors.other_process_count else None


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncSite:
    """A place at which the host waited for the card: it copied or read a value, or asked to wait."""

    place: str
    """File and line of the innermost code that belongs to no library: `src/train.py:31`."""
    code: str | None
    """The line of source there; None where it could not be read."""
    via: str | None
    """Where the library that waited on its behalf did so: `transformers/trainer.py:2034`; None if it did so itself."""
    count: int
    """Times, in all steps that were counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What the steady steps asked of an emulated card, all of them together; equal in equal runs, and no time.

    Steady steps are those after the first that ran to their end.
    """

    step_count: int
    """Steps that were counted."""
    kernel_launches: int
    """Kernels of the program that were launched; of a CUDA graph that is replayed, each of its kernels."""
    library_calls: int
    """Calls of cuBLAS, cuDNN, NCCL and the like that compute: one each, however many kernels a real card runs for it."""
    syncs: tuple[SyncSite, ...]
    """Where the host waited for the card, the most frequent first."""
    bytes_to_device: int
    bytes_to_host: int
    driver_allocations: int
    """Allocations of device memory that reached the driver (`cudaMalloc`, `cuMemCreate`), past PyTorch's cache."""
    flops: int
    """Floating-point operations of matrix products, attention and convolutions of PyTorch, in the first of the steps alone."""

    @property
    def a_step(self) -> dict[WorkName, Fraction]:
        """Each figure of one step, exactly: the average of the steps, but for the operations; `step_count` must not be 0."""
        totals: dict[WorkName, int] = {
            "launches": self.launches,
            "syncs": self.sync_count,
            "copied": self.copied_bytes,
            "driver_allocations": self.driver_allocations,
        }
        return {**{name: Fraction(total, self.step_count) for name, total in totals.items()}, "flops": Fraction(self.flops)}

    @property
    def launches(self) -> int:
        """Kernels and library calls."""
        return self.kernel_launches + self.library_calls

    @property
    def sync_count(self) -> int:
        """Times that the host waited."""
        return sum(site.count for site in self.syncs)

    @property
    def copied_bytes(self) -> int:
        """Bytes copied between host and card, both ways."""
        return self.bytes_to_device + self.bytes_to_host


@dataclass(frozen=True, kw_only=True, slots=True)
class Longest:
    """The answer of `vram.longest`."""

    quantity: str
    """What was varied: `seq_len` or `batch_size`."""
    value: int
    """Largest value that fits the target; 0 where the smallest that was tried does not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UsedMemory:
    """What a case used until it ended, however it ended."""

    peak_allocated_bytes: int
    peak_reserved_bytes: int
    context_bytes: int
    """Memory of the process outside the caching allocator: CUDA context, libraries, managed memory on the card."""
    parts: Parts
    outside: OutsideMemory | None = None
    """None on a real card, whose driver does not say."""
    phases: tuple[PhasePeak, ...] = ()
    origins: Origins | None = None
    """None where they were not asked for."""
    notes: tuple[str, ...] = ()
    """Doubts and facts about the reading that no number shows."""

    @property
    def peak_device_bytes(self) -> int:
        """Reserved plus everything outside the allocator."""
        return self.peak_reserved_bytes + self.context_bytes

    @property
    def fragmentation_bytes(self) -> int:
        """Reserved beyond what was allocated, each at its peak: cached blocks and rounding to segments."""
        return self.peak_reserved_bytes - self.peak_allocated_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement(UsedMemory):
    """A case that ran to its end."""

    work: Work | None = None
    """None on a real card, where nobody counts it."""
    steps: tuple[StepSample, ...] = ()
    """Timed steps without the warm-up; empty on an emulated card, which has no step time."""
    step_count: int = 0
    """Steps that ran, warm-up included."""
    after_step_bytes: tuple[int, ...] = ()
    """Allocated memory at the end of each step that ran to its end, warm-up included."""
    allocator_retries: int = 0
    """Times the allocator had to give back cached memory before an allocation succeeded."""
    out_of_memory_count: int = 0
    """Out-of-memory errors that the code caught and went on from."""
    leftover_bytes: int = 0
    """Live bytes that earlier tests left behind; not counted in any peak."""
    leftover_from: str | None = None
    """Case during or after which they were left; None where it is not known."""
    longest: Longest | None = None
    """Where it was asked for; the peaks then are those of that value."""

    @property
    def void_steps(self) -> tuple[StepSample, ...]:
        """Timed steps whose time says nothing."""
        return tuple(step for step in self.steps if step.void_reason is not None)

    @property
    def warming_count(self) -> int:
        """How many of the first timed steps that are not void are still warming up."""
        return warmup_count([step.device_seconds for step in self.steps if step.void_reason is None])

    @property
    def steady_steps(self) -> tuple[StepSample, ...]:
        """Timed steps that tell how fast the code is: neither void nor still warming up."""
        return tuple(step for step in self.steps if step.void_reason is None)[self.warming_count :]


@dataclass(frozen=True, kw_only=True, slots=True)
class OutOfMemory(UsedMemory):
    """A case that ended because the card was full; the peaks are those reached before."""

    message: str
    """PyTorch's own text of the `torch.OutOfMemoryError`."""
    phase: str
    """Phase in which it happened."""
    phases_around: tuple[str, ...] = ()
    """Phases that this one lay inside of, the innermost first; they were not finished either."""
    refused: SiteBytes | None = None
    """The allocation that PyTorch's allocator refused; None where that is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NotMeasured:
    """A case without numbers that could be trusted."""

    reason: str
    """Why, with the next step; becomes the reason of every UNJUDGED verdict."""


Reading: TypeAlias = Measurement | OutOfMemory | NotMeasured
