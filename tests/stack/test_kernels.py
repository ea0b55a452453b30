"""A card that the installed torch has no kernels for is refused."""

from __future__ import annotations

import pytest

from pytest_vramguard.devices.emulated.kernels import runs_on

pytestmark = [pytest.mark.stack]


@pytest.mark.parametrize(
    ("architectures", "capability", "runs"),
    [
        (["sm_75", "sm_80"], (7, 5), True),
        (["sm_75", "sm_80"], (8, 6), True),
        (["sm_75", "sm_80"], (7, 0), False),
        (["sm_86"], (8, 0), False),
        (["sm_80"], (9, 0), False),
        (["sm_80", "compute_80"], (9, 0), True),
        (["sm_90a"], (9, 0), True),
        (["sm_120"], (12, 0), True),
        ([], (8, 0), False),
    ],
)
def test_which_builds_run_on_which_cards(architectures: list[str], capability: tuple[int, int], *, runs: bool) -> None:
    """Machine code runs within its major version, intermediate code on anything newer."""
    assert runs == runs_on(architectures, capability)
