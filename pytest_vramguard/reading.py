"""What came out of one case: a measurement, an out-of-memory, or nothing, with the reason.

Three peaks are told apart everywhere. *Allocated* is what live tensors held, *reserved* is what PyTorch's caching allocator
held, *device* is reserved plus everything outside the allocator (context, libraries), which is what nvidia-smi would show.
All sizes are integer bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypeAlias


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
class StepSample:
    """The time of one training step on a real card."""

    host_seconds: float
    """Host clock, synchronised at both ends."""
    device_seconds: float
    """CUDA events around the step."""
    tokens: int | None = None
    """Tokens in the step's batches, where the caller said so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Longest:
    """The answer of `vram.longest`."""

    quantity: str
    """What was varied: `seq_len` or `batch_size`."""
    value: int
    """Largest value that fits the target; 0 where the smallest that was tried does not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """A case that ran to its end."""

    peak_allocated_bytes: int
    peak_reserved_bytes: int
    context_bytes: int
    """Memory of the process outside the caching allocator: CUDA context, libraries, managed memory on the card."""
    parts: Parts
    outside: OutsideMemory | None = None
    """None on a real card, whose driver does not say."""
    phases: tuple[PhasePeak, ...] = ()
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
    notes: tuple[str, ...] = ()
    """Doubts and facts about the measurement that no number shows."""

    @property
    def peak_device_bytes(self) -> int:
        """Reserved plus everything outside the allocator."""
        return self.peak_reserved_bytes + self.context_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class OutOfMemory:
    """A case that ended because the card was full; the peaks are those reached before."""

    message: str
    """PyTorch's own text of the `torch.OutOfMemoryError`."""
    phase: str
    """Phase in which it happened."""
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    context_bytes: int
    parts: Parts
    phases_around: tuple[str, ...] = ()
    """Phases that this one lay inside of, the innermost first; they were not finished either."""
    outside: OutsideMemory | None = None
    phases: tuple[PhasePeak, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def peak_device_bytes(self) -> int:
        """Reserved plus everything outside the allocator."""
        return self.peak_reserved_bytes + self.context_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class NotMeasured:
    """A case without numbers that could be trusted."""

    reason: str
    """Why, with the next step; becomes the reason of every UNJUDGED verdict."""


Reading: TypeAlias = Measurement | OutOfMemory | NotMeasured
