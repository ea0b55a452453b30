"""What the card's sensors say while a step runs: clocks, temperature, power, throttling, and who else computes on it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import pynvml

from pytest_vramguard.meter.outside import nvml_handle
from pytest_vramguard.reading import StepSensors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
PERIOD_SECONDS: Final = 0.05
"""Between two samples of a step. The driver renews most values every 20 to 100 ms, and a query takes about one."""
CLOCK_REASONS: Final = {
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
}
"""Bits of NVML's answer and nvidia-smi's names for them; idleness and the display's clock hold no step back.
Source: nvml.h, nvmlClocksEventReasons."""
MILLIWATTS_PER_WATT: Final = 1000
HERTZ_PER_MEGAHERTZ: Final = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class SensorSample:
    """What the sensors said at a moment; None where the card has no such sensor."""

    clock_hz: int | None = None
    temperature_celsius: int | None = None
    power_watts: float | None = None
    clock_reasons: tuple[str, ...] = ()
    other_process_count: int | None = None


Sensors: TypeAlias = "Callable[[], SensorSample]"
"""Takes a sample."""


def sensors_of(device: int) -> Sensors | None:
    """Return the sensors of a card of this process, or None where the driver cannot be asked."""
    try:
        pynvml.nvmlInit()
        handle = nvml_handle(device)
    except pynvml.NVMLError:
        return None
    return lambda: _sample(handle)


@contextmanager
def watched(sensors: Sensors, period_seconds: float = PERIOD_SECONDS) -> Iterator[list[SensorSample]]:
    """Sample in the background while the code inside runs, and once when it has ended; the samples fill the list."""
    seen: list[SensorSample] = []
    over = Event()

    def watch() -> None:
        while not over.wait(period_seconds):
            seen.append(sensors())

    thread = Thread(target=watch, name="vramguard-sensors", daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
    seen.append(sensors())


def summary(samples: Iterable[SensorSample]) -> StepSensors:
    """Return the extremes of `samples`, and every reason that any of them has."""
    seen = list(samples)
    return StepSensors(
        lowest_clock_hz=min(_known(sample.clock_hz for sample in seen), default=None),
        highest_temperature_celsius=max(_known(sample.temperature_celsius for sample in seen), default=None),
        highest_power_watts=max(_known(sample.power_watts for sample in seen), default=None),
        clock_reasons=tuple(dict.fromkeys(reason for sample in seen for reason in sample.clock_reasons)),
        other_process_count=max(_known(sample.other_process_count for sample in seen), default=None),
    )


def _known(values: Iterable[T | None]) -> list[T]:
    return [value for value in values if value is not None]


def _sample(handle: Any) -> SensorSample:
    clock_mhz = _asked(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM)
    power_milliwatts = _asked(pynvml.nvmlDeviceGetPowerUsage, handle)
    reasons = _asked(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle) or 0
    processes = _asked(pynvml.nvmlDeviceGetComputeRunningProcesses, handle)
    return SensorSample(
        clock_hz=None if clock_mhz is None else clock_mhz * HERTZ_PER_MEGAHERTZ,
        temperature_celsius=_asked(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        power_watts=None if power_milliwatts is None else power_milliwatts / MILLIWATTS_PER_WATT,
        clock_reasons=tuple(name for bit, name in CLOCK_REASONS.items() if reasons & bit),
        # This process is one of them, even where a container gives it another number than the driver does.
        other_process_count=None if processes is None else max(len(processes) - 1, 0),
    )


def _asked(query: Callable[..., Any], *arguments: Any) -> Any:
    """Return the answer of a card, or None if it has no such sensor or does not tell."""
    try:
        return query(*arguments)
    except pynvml.NVMLError:
        return None
