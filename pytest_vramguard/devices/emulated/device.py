"""The emulated card as a device."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pytest_vramguard.devices.emulated import libraries
from pytest_vramguard.devices.emulated.known.reads import ReadLog, places_text
from pytest_vramguard.devices.stack import find_torch, installed_versions
from pytest_vramguard.errors import DeviceUnavailable
from pytest_vramguard.report import DeviceFacts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_vramguard.cards import Card

CUDA_MAJORS: Final = (13,)
"""CUDA releases whose libraries are emulated."""


class EmulatedDevice:
    """A card that keeps the books instead of computing: real allocator, real statistics, real out-of-memory, no GPU."""

    timed = False
    description = "emulated (no kernel runs, memory is counted)"

    def __init__(self) -> None:
        """Start without a card; `enter` places the first."""
        self._card: Card | None = None
        self._reads: ReadLog | None = None

    def enter(self, card: Card) -> None:
        """Load the emulated libraries with `card`."""
        _require_emulation()
        # transformers loads weights in several threads, whose allocations come in an order that is luck: with one, two runs
        # are equal to the byte.
        os.environ.setdefault("HF_DEACTIVATE_ASYNC_LOAD", "1")
        libraries.load()
        libraries.place(card)
        self._card = card

    def place(self, target: Card) -> None:
        """Change the card, if it is another one, and start a new list of gaps."""
        from pytest_vramguard.devices.emulated import torch_caches
        from pytest_vramguard.devices.emulated.kernels import require_kernels

        require_kernels(target)
        if target != self._card:
            libraries.place(target)
            self._card = target
        torch_caches.refresh(target.name, target.usable_bytes)
        libraries.forget_refused()

    def context_bytes(self, target: Card) -> None:
        """Return None: the emulated driver accounts for them, so they are measured like a real card's."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run with the values that shape the computation kept real."""
        from pytest_vramguard.devices.emulated.known.mode import KnownValues
        from pytest_vramguard.devices.emulated.known.triton_writes import triton_writes_seen

        values = KnownValues()
        self._reads = values.log
        with triton_writes_seen(values.known.forget), values:
            yield

    def gaps(self) -> tuple[str, ...]:
        """Return the functions that were called and are not emulated, and the shapes that only a real card could know."""
        refused = tuple(f"emulation does not cover {name}" for name in libraries.refused())
        if self._reads is None or not self._reads.shapes:
            return refused
        return (
            *refused,
            f"data-dependent: {places_text(self._reads.shapes)}; an emulated card computes no values; use a real one",
        )

    def notes(self) -> tuple[str, ...]:
        """Return where values were read that nobody computed."""
        if self._reads is None or not self._reads.reads:
            return ()
        return (f"values that are not computed here were read as 0: {places_text(self._reads.reads)}",)

    def facts(self) -> DeviceFacts:
        """Describe the card in place."""
        card = self._card
        if card is None:
            message = "emulated card: none is in place; call enter first"
            raise DeviceUnavailable(message)
        major, minor = card.compute_capability
        return DeviceFacts(
            kind="emulated",
            name=card.name,
            usable_bytes=card.usable_bytes,
            compute_capability=f"{major}.{minor}",
            driver=libraries.DRIVER_NAME,
            versions=installed_versions(),
        )


def _require_emulation() -> None:
    """Raise DeviceUnavailable unless torch, not yet imported, could run on an emulated card here."""
    system = f"{platform.system()} {platform.machine()}"
    if system != "Linux x86_64":
        message = (
            f"emulated card: this is {system}, expected Linux x86_64; run there, or on a real card with --vram-device cuda"
        )
        raise DeviceUnavailable(message)
    if not libraries.built():
        message = (
            "emulated card: its libraries are missing; reinstall: pip install --force-reinstall --no-deps pytest-vramguard"
        )
        raise DeviceUnavailable(message)
    build = find_torch()
    if build is None:
        message = "torch: not installed, expected a CUDA build; install it: pip install 'pytest-vramguard[train]'"
        raise DeviceUnavailable(message)
    if build.cuda_major not in CUDA_MAJORS:
        found = f"built for CUDA {build.cuda}" if build.cuda else "a build without CUDA"
        message = f"torch {build.version}: {found}, expected CUDA 13; install that build: pip install --force-reinstall torch"
        raise DeviceUnavailable(message)
    if "torch" in sys.modules and not libraries.loaded():
        message = (
            "torch: imported before the emulated card could be put in place, expected afterwards; "
            "import it in tests or conftest.py, not in a pytest plugin that is loaded earlier"
        )
        raise DeviceUnavailable(message)
