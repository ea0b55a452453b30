"""A real card as a device, capped to the target if it is larger."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from pytest_vramguard.devices.emulated.libraries import UUID_PREFIX
from pytest_vramguard.devices.gpu_lock import gpu_lock
from pytest_vramguard.devices.stack import find_torch, installed_versions
from pytest_vramguard.errors import DeviceUnavailable
from pytest_vramguard.report import DeviceFacts
from pytest_vramguard.units import exact_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from pytest_vramguard.cards import Card


class CudaDevice:
    """The first card that torch sees. One case at a time runs on it, whatever the number of processes."""

    description = "cuda (a real card)"

    def __init__(self) -> None:
        """Start without a cap."""
        self._target: Card | None = None

    @property
    def timed(self) -> bool:
        """Whether the card is a real one; code for a real card is tried on emulated ones too."""
        return not self._is_emulated

    def enter(self, card: Card) -> None:
        """Check that torch can have a card; `card` needs no preparation."""
        del card
        build = find_torch()
        if build is None or build.cuda is None:
            found = "not installed" if build is None else f"{build.version} is a build without CUDA"
            message = f"torch: {found}, expected a CUDA build; install it: pip install 'pytest-vramguard[train]'"
            raise DeviceUnavailable(message)

    def place(self, target: Card) -> None:
        """Cap the allocator so that no more than `target` has can be reserved.

        Raises:
            DeviceUnavailable: torch finds no card.
        """
        import torch

        if not torch.cuda.is_available():
            message = "torch: finds no CUDA card, expected one; check nvidia-smi, or use --vram-device emulated"
            raise DeviceUnavailable(message)
        self._target = target
        # Without a cap the whole card may be used, also after a case that had one.
        allowed_bytes = target.usable_bytes - target.context_bytes if self._capped else self._properties.total_memory
        torch.cuda.set_per_process_memory_fraction(allowed_bytes / self._properties.total_memory, 0)

    @property
    def _capped(self) -> bool:
        """Whether the card is larger than the target that it stands in for."""
        return self._target is not None and self._properties.total_memory > self._target.usable_bytes

    def context_bytes(self, target: Card) -> int | None:
        """Return the catalogue's figure where a larger card stands in for `target`, whose own context it cannot show."""
        return target.context_bytes if self._capped else None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run while no other process runs a case on this card, and see no more memory than the target has."""
        from pytest_vramguard.devices.capped_memory import memory_of

        with gpu_lock(self._uuid), memory_of(self._target) if self._capped and self._target else nullcontext():
            yield

    def counted_step(self) -> AbstractContextManager[None]:
        """Return a context that counts nothing."""
        return nullcontext()

    def work(self) -> None:
        """Return None: what a real card is asked for is not counted."""

    def ranked(self, rank: int, world_size: int) -> AbstractContextManager[None]:
        """Raise DeviceUnavailable: real ranks wait for each other."""
        message = (
            f"rank {rank} of {world_size}: a real card cannot train without the other ranks, expected an emulated one; "
            "use --vram-device emulated"
        )
        raise DeviceUnavailable(message)

    def gaps(self) -> tuple[str, ...]:
        """Return that the card is smaller than the target, if so: an out-of-memory on it would say nothing about the target."""
        target, found = self._target, self._properties
        if target is None or found.total_memory >= target.usable_bytes:
            return ()
        return (
            f"{found.name}: {exact_text(found.total_memory)}, expected the {exact_text(target.usable_bytes)} of {target.key}; "
            "run on a card at least as large, or use --vram-device emulated",
        )

    def notes(self) -> tuple[str, ...]:
        """Say if the context of another card stands in the numbers."""
        return ("context bytes are the catalogue's: a larger card stood in, capped to the target",) if self._capped else ()

    def outside(self) -> None:
        """Return None: a real driver tells neither managed nor page-locked memory apart."""

    def facts(self) -> DeviceFacts:
        """Describe the card that torch sees."""
        found = self._properties
        return DeviceFacts(
            kind="emulated" if self._is_emulated else "cuda",
            name=found.name,
            usable_bytes=found.total_memory,
            compute_capability=f"{found.major}.{found.minor}",
            driver=_driver_version(),
            versions=installed_versions(),
        )

    @property
    def _properties(self) -> Any:  # torch gives its type no public name
        import torch

        return torch.cuda.get_device_properties(0)

    @property
    def _is_emulated(self) -> bool:
        return self._uuid.startswith(UUID_PREFIX)

    @property
    def _uuid(self) -> str:
        import torch

        uuid = getattr(self._properties, "uuid", None)
        if uuid is None:  # torch 2.1 tells none, but where NVML counts the card
            import pynvml

            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(torch.cuda._get_nvml_device_index(0))
            uuid = pynvml.nvmlDeviceGetUUID(handle).removeprefix("GPU-")
        return str(uuid)


def _driver_version() -> str:
    import pynvml

    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return "unknown"
