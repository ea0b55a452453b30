"""What every device can do for a case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from pytest_vramguard.cards import Card
    from pytest_vramguard.reading import OutsideMemory, Work
    from pytest_vramguard.report import DeviceFacts


class Device(Protocol):
    """Where the code of a case runs: a real card, or an emulated one. One object serves a whole process."""

    @property
    def timed(self) -> bool:
        """Whether the time of a step means anything here."""
        ...

    @property
    def description(self) -> str:
        """A few words for the header of a run, known without torch."""
        ...

    def enter(self, card: Card) -> None:
        """Make the process able to run on `card`; called once, before torch is imported.

        Raises:
            DeviceUnavailable: it cannot be had here; the message says why and what to do.
        """
        ...

    def place(self, target: Card) -> None:
        """Make torch see `target`, or as much memory as `target` has; called before each case.

        Raises:
            DeviceUnavailable: the device cannot stand in for `target`.
        """
        ...

    def context_bytes(self, target: Card) -> int | None:
        """Return the bytes outside the allocator that `target` would show, or None where they can be measured."""
        ...

    def running(self) -> AbstractContextManager[None]:
        """Return a context in which the code of a case runs."""
        ...

    def counted_step(self) -> AbstractContextManager[None]:
        """Return a context for one steady step inside `running`, whose work is counted where that can be done."""
        ...

    def work(self) -> Work | None:
        """Return what the steps in `counted_step` asked of the card since `running`, or None where nobody counts."""
        ...

    def ranked(self, rank: int, world_size: int) -> AbstractContextManager[None]:
        """Return a context in which code is one of `world_size` ranks that train together; inside of `running`.

        Raises:
            DeviceUnavailable: the device cannot do without the other ranks.
        """
        ...

    def gaps(self) -> tuple[str, ...]:
        """Return what the device was asked since `place` and could not answer, each as a clause; empty if there was nothing."""
        ...

    def notes(self) -> tuple[str, ...]:
        """Return what a reader of the numbers since `place` should know."""
        ...

    def outside(self) -> OutsideMemory | None:
        """Return the managed and page-locked memory since `place`, or None where nobody says."""
        ...

    def facts(self) -> DeviceFacts:
        """Describe the device that torch sees now."""
        ...
