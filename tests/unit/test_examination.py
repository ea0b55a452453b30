"""Which device the finding of `vramguard doctor` amounts to."""

from __future__ import annotations

import pytest

from pytest_vramguard.examination import DeviceKind, Trial
from tests import samples

WORKS = Trial(works=True, account="a training step took 36.3 MiB")
FAILS = Trial(works=False, account="torch: not installed")


@pytest.mark.parametrize(
    ("cuda_trial", "emulation", "device_and_usable"),
    [
        (None, WORKS, ("emulated", True)),
        (None, FAILS, (None, False)),
        (WORKS, WORKS, ("cuda", True)),
        (WORKS, FAILS, ("cuda", True)),
        (FAILS, WORKS, (None, True)),
        (FAILS, FAILS, (None, False)),
    ],
)
def test_a_real_card_goes_first(
    cuda_trial: Trial | None, emulation: Trial, device_and_usable: tuple[DeviceKind | None, bool]
) -> None:
    """A real card that does not work is not passed over in silence, though the emulated one may be asked for."""
    found = samples.examination(cuda_trial=cuda_trial, emulation=emulation)

    assert device_and_usable == (found.device, found.usable)
