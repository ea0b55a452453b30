"""What `vramguard doctor` found: the machine, the training stack, and which device would be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

DeviceKind: TypeAlias = Literal["cuda", "emulated"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RealCard:
    """A card that the driver shows."""

    name: str
    total_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """How a training step of ten lines ended in a process of its own."""

    works: bool
    account: str
    """What it measured; or what is wrong, with the next step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """Everything that was found."""

    system: str
    """As in `Linux x86_64`."""
    python: str
    torch: str | None
    """Version of torch; None if it is not installed."""
    cuda: str | None
    """Release of CUDA that torch was built for; None for a build without it."""
    packages: tuple[tuple[str, str], ...]
    """Name and version of what else is installed of the training stack."""
    driver: str | None
    """Version of NVIDIA's driver; None if there is none."""
    real_cards: tuple[RealCard, ...]
    cuda_trial: Trial | None
    """On the first real card; None where there is none to try."""
    emulation: Trial

    @property
    def device(self) -> DeviceKind | None:
        """What `auto` takes here: a real card if there is one, and else the emulated one. None if that one does not work."""
        if self.cuda_trial is not None:
            return "cuda" if self.cuda_trial.works else None
        return "emulated" if self.emulation.works else None

    @property
    def usable(self) -> bool:
        """Whether a case can run here on one device or the other."""
        return self.emulation.works or self.device is not None
