"""Peaks of the caching allocator, kept for several nested stretches of code at once."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from pytest_vramguard.meter.outside import outside_allocator_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_has_context = torch._C._cuda_hasPrimaryContext  # type: ignore[attr-defined] # torch's stubs leave it out
_reset = torch._C._cuda_resetPeakMemoryStats  # what every public reset calls; kept before anybody wraps it


def devices_in_use() -> list[int]:
    """Return the devices that this process has a context on, and the current one."""
    current = torch.cuda.current_device()
    every = range(torch.cuda.device_count())
    return [device for device in every if device == current or _has_context(device)]


def reset_peaks() -> None:
    """Start new peaks from what is held now, on every device in use."""
    for device in devices_in_use():
        _reset(device)


@dataclass(eq=False, kw_only=True, slots=True)
class Peaks:
    """What was seen on one device, in bytes."""

    allocated_bytes: int = 0
    reserved_bytes: int = 0
    outside_bytes: int | None = None
    """Largest memory outside the allocator, seen at the ends of stretches; None where it was never seen."""

    def joined(self, other: Peaks) -> Peaks:
        """Return the larger of both."""
        return Peaks(
            allocated_bytes=max(self.allocated_bytes, other.allocated_bytes),
            reserved_bytes=max(self.reserved_bytes, other.reserved_bytes),
            outside_bytes=_largest(self.outside_bytes, other.outside_bytes),
        )


@dataclass(eq=False, kw_only=True, slots=True)
class Scope:
    """A stretch of code and the peaks seen in it so far, by device."""

    name: str
    seen: dict[int, Peaks] = field(default_factory=dict)

    def on(self, device: int) -> Peaks:
        """Return what was seen on `device`; nothing yet if it was not in use."""
        return self.seen.get(device, Peaks())

    def note(self, device: int, peaks: Peaks) -> None:
        """Add what was just seen on `device`."""
        self.seen[device] = self.on(device).joined(peaks)

    def joined(self, other: Scope) -> Scope:
        """Return one scope with the peaks of both."""
        devices = {**self.seen, **other.seen}
        return Scope(name=self.name, seen={device: self.on(device).joined(other.on(device)) for device in devices})


def _largest(one: int | None, other: int | None) -> int | None:
    return max((size for size in (one, other) if size is not None), default=None)


@dataclass(kw_only=True, slots=True)
class PeakWatch:
    """Open scopes, outermost first.

    The allocator keeps one peak since the last reset. Whenever a scope opens or closes that peak is given to every open scope,
    then reset, so each scope sees exactly its own stretch.
    """

    scopes: list[Scope] = field(default_factory=list)

    def fold(self) -> None:
        """Give the peaks since the last reset to every open scope, and reset them."""
        for device in devices_in_use():
            statistics = torch.cuda.memory_stats(device)
            peaks = Peaks(
                allocated_bytes=statistics.get("allocated_bytes.all.peak", 0),
                reserved_bytes=statistics.get("reserved_bytes.all.peak", 0),
            )
            for scope in self.scopes:
                scope.note(device, peaks)
        reset_peaks()

    def open(self, scope: Scope) -> None:
        """Start to count for `scope` too."""
        self.fold()
        self.scopes.append(scope)

    def close(self, scope: Scope) -> None:
        """Stop to count for `scope` and for those opened inside it that were never closed; nothing if it is closed already."""
        if scope not in self.scopes:
            return
        self.fold()
        for device in devices_in_use():
            outside = Peaks(outside_bytes=outside_allocator_bytes(device))
            for opened in self.scopes:
                opened.note(device, outside)
        del self.scopes[self.scopes.index(scope) :]


@contextmanager
def peaks_kept(fold: Callable[[], None]) -> Iterator[None]:
    """Call `fold` before anybody's code resets the peaks, as training scripts do, so that no peak is lost."""

    def fold_and_reset(device: int) -> None:
        fold()
        _reset(device)

    torch._C._cuda_resetPeakMemoryStats = fold_and_reset
    try:
        yield
    finally:
        torch._C._cuda_resetPeakMemoryStats = _reset
