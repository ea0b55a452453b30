"""Which ranks of a distributed command are run. The others are answered for: their processes end before they import anything.

Imported by every process below `vramguard run`; nothing heavy is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

RANKS_VARIABLE: Final = "VRAMGUARD_RANKS"
"""Environment variable with `auto` or the ranks that are run; see `startup/sitecustomize.py`. Not set where all are."""
MOST_GPUS: Final = 64
"""`VG_MAX_CARDS` in `core.h`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """A choice of ranks."""

    text: str
    """`all`, `auto`, or numbers with commas."""

    @property
    def named(self) -> tuple[int, ...]:
        """The ranks that are asked for by number."""
        return () if self.text in {"all", "auto"} else tuple(map(int, self.text.split(",")))

    def run_of(self, world_size: int) -> tuple[int, ...]:
        """Return those of `world_size` ranks that are run, in order.

        `auto` takes the first and the last: the first does what only one rank does, such as saving, and has the largest share
        where parameters do not divide evenly; the last has the smallest, and the last stage of a pipeline.
        """
        if self.text == "all":
            return tuple(range(world_size))
        chosen = {0, world_size - 1} if self.text == "auto" else {rank for rank in self.named if rank < world_size}
        return tuple(sorted(chosen))


ALL_RANKS: Final = Ranks(text="all")


def ranks_of_text(text: str) -> Ranks:
    """Return the choice that `text` names: `all`, `auto`, or whole numbers with commas between.

    Raises:
        ValueError: it is none of these.
    """
    if text not in {"all", "auto"} and not all(part.isdecimal() for part in text.split(",")):
        message = f"got {text!r}, expected all, auto, or ranks as in 0,3"
        raise ValueError(message)
    return Ranks(text=text)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a process stands among the ranks of its command."""

    rank: int
    world_size: int
    present: tuple[int, ...]
    """Ranks that are run, in order; this one is among them."""

    @property
    def absent_count(self) -> int:
        """Ranks that are not run."""
        return self.world_size - len(self.present)


def place_in(environment: Mapping[str, str]) -> Place | None:
    """Return where the process with this environment stands; None if it is no rank of a distributed command.

    Source of the variables: torch.distributed.run, "Environment Variables".
    """
    values = [environment.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
    if not all(value.isdecimal() for value in values):
        return None
    rank, world_size = int(values[0]), int(values[1])
    ranks = Ranks(text=environment.get(RANKS_VARIABLE, "all"))
    return Place(rank=rank, world_size=world_size, present=ranks.run_of(world_size))
