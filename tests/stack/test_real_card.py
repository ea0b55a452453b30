"""On a real card the same tests measure hardware, and agree with the emulated card about memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_vramguard.devices import real_card_present
from tests.stack.test_same_numbers import RECIPE

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.stack,
    pytest.mark.skipif(not real_card_present(), reason="needs a real card: none on this machine"),
]

TEST = """
import pytest

@pytest.mark.vram(steps=5, warmup=2)
def test_recipe(vram):
    vram.train("recipe.toml")
"""


@pytest.fixture
def by_device(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """The same case on the real card, capped to an RTX 3060, and on an emulated one."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytester.path.joinpath("recipe.toml").write_text(RECIPE, encoding="utf-8")
    pytester.makepyfile(TEST)
    found = {}
    for device in ("cuda", "emulated"):
        path = pytester.path / f"{device}.json"
        pytester.runpytest_subprocess("--vram-target=rtx3060", f"--vram-device={device}", f"--vram-json={path}")
        (found[device],) = json.loads(path.read_text(encoding="utf-8"))["cases"]
    return found


def test_real_card_is_measured(by_device: dict[str, dict[str, Any]]) -> None:
    """A real card has step times, one for each step after the warm-up."""
    case = by_device["cuda"]

    assert "cuda" == case["device"]["kind"]
    assert "measurement" == case["reading"]["kind"]
    assert 5 == len(case["reading"]["step_seconds"])
    assert all(seconds > 0 for seconds in case["reading"]["step_seconds"])


def test_emulated_card_agrees_on_allocated_memory(by_device: dict[str, dict[str, Any]]) -> None:
    """Live tensors peak at the same bytes on both, within half a percent: kernels choose a few temporaries by architecture."""
    real, emulated = (by_device[device]["reading"]["peak_allocated_bytes"] for device in ("cuda", "emulated"))

    assert real == pytest.approx(emulated, rel=0.005)
