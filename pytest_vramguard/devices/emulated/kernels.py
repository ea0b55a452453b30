"""Whether the installed torch could run on the card at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pytest_vramguard.errors import DeviceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_vramguard.cards import Card


def require_kernels(card: Card) -> None:
    """Raise DeviceUnavailable if this build of torch holds no kernels for `card`: a real one would refuse the first launch."""
    architectures = torch.cuda.get_arch_list()
    if not runs_on(architectures, card.compute_capability):
        major, minor = card.compute_capability
        message = (
            f"torch {torch.__version__}: has kernels for {' '.join(architectures)}, expected some for compute capability "
            f"{major}.{minor} of {card.key}; take another card, or a build of torch that has them: those for CUDA 13 run on "
            "none that is older than Turing"
        )
        raise DeviceUnavailable(message)


def runs_on(architectures: Iterable[str], capability: tuple[int, int]) -> bool:
    """Return whether one of `architectures` (`sm_86`, `compute_90`) runs on a card of `capability`.

    Machine code runs on its own major version from its minor version on; intermediate code runs on anything newer.
    Source: CUDA C++ Programming Guide 13.0, "Binary Compatibility" and "PTX Compatibility".
    """
    for architecture in architectures:
        kind, _, version = architecture.rstrip("af").partition("_")
        built_for = divmod(int(version), 10)
        if built_for <= capability and (kind == "compute" or built_for[0] == capability[0]):
            return True
    return False
