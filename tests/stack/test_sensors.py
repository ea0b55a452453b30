"""The card's sensors are asked while a step runs; what they say is kept with the step."""

from __future__ import annotations

import time
from threading import enumerate as threads

import pytest
import torch

from pytest_vramguard.devices import real_card_present
from pytest_vramguard.meter.sensors import SensorSample, sensors_of, summary, watched
from pytest_vramguard.meter.steps import timed_step
from pytest_vramguard.reading import StepSample, StepSensors

pytestmark = [pytest.mark.stack]

COOL = SensorSample(clock_hz=1_700_000_000, temperature_celsius=50, power_watts=120.5, other_process_count=0)
HOT = SensorSample(
    clock_hz=900_000_000,
    temperature_celsius=93,
    power_watts=60.0,
    clock_reasons=("hw_slowdown", "hw_thermal_slowdown"),
    other_process_count=2,
)


class Scripted:
    """Sensors that say one sample after the other, and the last one from then on."""

    def __init__(self, *samples: SensorSample) -> None:
        """Say `samples`."""
        self._samples = list(samples)

    def __call__(self) -> SensorSample:
        """Return the next sample."""
        return self._samples.pop(0) if len(self._samples) > 1 else self._samples[0]


def timed(sensors: Scripted | None) -> StepSample:
    """Return the sample of a step on this card."""
    torch.cuda.init()
    samples: list[StepSample] = []
    with timed_step(samples, tokens=8, sensors=sensors):
        torch.ones(8, device="cuda").sum()
    return samples[0]


def test_the_background_samples_while_the_code_runs() -> None:
    """A step of many periods has many samples, and the thread ends with it."""
    with watched(Scripted(COOL), period_seconds=0.001) as seen:
        time.sleep(0.1)

    assert len(seen) > 5
    assert not [thread for thread in threads() if thread.name == "vramguard-sensors"]


def test_a_short_step_is_asked_once() -> None:
    """A step that is over before the first period has the sample of its end."""
    with watched(Scripted(COOL, HOT), period_seconds=60) as seen:
        pass

    assert [COOL] == seen


def test_an_error_inside_ends_the_thread() -> None:
    """The code's own error goes through, and nothing is sampled any more."""
    with pytest.raises(ValueError, match="mine"), watched(Scripted(COOL), period_seconds=60) as seen:
        raise ValueError("mine")

    assert [] == seen
    assert not [thread for thread in threads() if thread.name == "vramguard-sensors"]


def test_the_extremes_are_kept() -> None:
    """Of all samples of a step the lowest clock, the highest temperature and power, and every reason are kept."""
    assert StepSensors(
        lowest_clock_hz=900_000_000,
        highest_temperature_celsius=93,
        highest_power_watts=120.5,
        clock_reasons=("hw_slowdown", "hw_thermal_slowdown"),
        other_process_count=2,
    ) == summary([COOL, HOT, SensorSample()])


def test_a_card_without_sensors() -> None:
    """What no sample says is not known, and voids nothing."""
    assert StepSensors() == summary([SensorSample()])


def test_a_throttled_step_is_marked_and_kept() -> None:
    """The step has its times, what the sensors said, and why it is void."""
    step = timed(Scripted(HOT))

    assert step.sensors == summary([HOT])
    assert step.host_seconds > 0
    assert "the card was throttled (hw_slowdown, hw_thermal_slowdown)" == step.void_reason


def test_a_power_cap_is_no_throttling() -> None:
    """A card at its power limit is as fast as it is."""
    capped = SensorSample(clock_reasons=("sw_power_cap",), other_process_count=0)

    assert timed(Scripted(capped)).void_reason is None


def test_a_card_whose_driver_cannot_be_asked() -> None:
    """Without sensors a step is timed all the same."""
    step = timed(None)

    assert (None, None) == (step.sensors, step.void_reason)


def test_the_emulated_card_is_asked_as_a_real_one_is() -> None:
    """The same calls reach the emulated NVML, which has no such sensors and knows of no other process."""
    torch.cuda.init()
    sensors = sensors_of(torch.cuda.current_device())

    assert sensors is not None
    assert SensorSample(other_process_count=0) == sensors()


@pytest.mark.gpu
@pytest.mark.skipif(not real_card_present(), reason="needs a real card: none on this machine")
def test_a_real_card_answers() -> None:
    """A data-centre or consumer card has a clock, a temperature and a power."""
    sensors = sensors_of(0)

    assert sensors is not None
    found = sensors()
    assert found.clock_hz is not None
    assert found.clock_hz > 10_000_000
    assert found.temperature_celsius is not None
    assert 0 < found.temperature_celsius < 110
    assert found.power_watts is None or 0 < found.power_watts < 2000
