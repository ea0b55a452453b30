"""What a runner tells the one who measures: which phase it is in, and where each training step begins and ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Watch(Protocol):
    """The measuring side of a run; the meter is one."""

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Return a context that is open for as long as the phase called `name` lasts."""
        ...

    def step(self, tokens: int | None) -> AbstractContextManager[None]:
        """Return a context that is open for one optimizer step on `tokens` tokens, padding included; None if not known."""
        ...
