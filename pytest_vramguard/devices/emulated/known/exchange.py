"""What the ranks of a group say to each other on the host: each a message, and each hears them all.

It goes through the store that torch.distributed was started with, so nothing has to be set up, and it waits like a collective.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch.distributed as dist
from torch.distributed import distributed_c10d

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.distributed import ProcessGroup


@dataclass(kw_only=True, slots=True)
class Exchange:
    """The messages of this process."""

    present: tuple[int, ...] | None = None
    """Ranks that are run; None if all are."""
    _calls: Counter[str] = field(default_factory=Counter)
    """By the name of the group, which all of its ranks use in the same order."""

    def voices(self, group: ProcessGroup) -> list[int]:
        """Return for each rank of `group`, in its order, the rank that speaks for it.

        That is itself if it is run, else the nearest one below that is, else the lowest.
        """
        ranks = dist.get_process_group_ranks(group)
        run = [rank for rank in ranks if self.present is None or rank in self.present]
        return [max((one for one in run if one <= rank), default=min(run)) for rank in ranks]

    def hear(self, group: ProcessGroup, voices: Sequence[int], message: bytes) -> dict[int, bytes]:
        """Say `message` to the ranks that speak in `group`, and return what each of them says."""
        speaking = sorted(set(voices))
        own = dist.get_rank()
        if speaking == [own]:
            return {own: message}
        name = group.group_name
        call = self._calls[name] = self._calls[name] + 1
        store = distributed_c10d._get_default_store()
        store.set(_key(name, call, own), message)  # type: ignore[arg-type] # bytes are taken, and given back
        heard = dict(zip(speaking, store.multi_get([_key(name, call, rank) for rank in speaking]), strict=True))
        # Whoever speaks now has heard the call before the last one: nobody asks for that again.
        store.delete_key(_key(name, call - 2, own))
        return heard


def _key(group: str, call: int, rank: int) -> str:
    return f"vramguard/{group}/{call}/{rank}"
