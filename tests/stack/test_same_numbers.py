"""One recipe gives the same bytes again, beside other targets, and on a larger card capped to the target."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.stack]

RECIPE = """
[model]
pretrained_model_name_or_path = "meta-llama/Llama-3.2-1B"
config = { num_hidden_layers = 2 }
dtype = "bfloat16"

[quantization]
load_in_4bit = true
bnb_4bit_quant_type = "nf4"

[peft]
target_modules = ["q_proj", "v_proj"]

[training]
per_device_train_batch_size = 2
optim = "adamw_bnb_8bit"
bf16 = true

[data]
synthetic_length = 256
"""
TEST = """
import pytest
import torch

@pytest.mark.vram
def test_recipe(vram):
    vram.train("recipe.toml")

@pytest.mark.vram
def test_too_large(vram):
    torch.empty(12 * 2**30, dtype=torch.uint8, device="cuda")
"""
STAND_IN = """
import pytest
from pytest_vramguard.cards import load_catalogue
from pytest_vramguard.devices.emulated import EmulatedDevice

device = EmulatedDevice()
device.enter(load_catalogue().find("a100-80"))

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol():
    with device.running():
        return (yield)
"""
"""Puts an emulated A100 under code that takes it for a real card."""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one recipe and two tests, of which one asks for more than 12 GB."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytester.path.joinpath("recipe.toml").write_text(RECIPE, encoding="utf-8")
    pytester.makepyfile(TEST)
    return pytester.path


def cases(pytester: pytest.Pytester, *arguments: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Run the project's tests and return the cases of the report by test and target."""
    pytester.runpytest_subprocess("--vram-json=report.json", "-p", "no:hypothesispytest", *arguments)
    document = json.loads(pytester.path.joinpath("report.json").read_text(encoding="utf-8"))
    return {(case["id"].partition("::")[2].partition("[")[0], case["target"]): case for case in document["cases"]}


def numbers(case: dict[str, Any]) -> dict[str, Any]:
    """Return what must not differ."""
    reading = case["reading"]
    sizes = {key: reading[key] for key in ("kind", "peak_allocated_bytes", "peak_reserved_bytes", "peak_device_bytes", "parts")}
    return {**sizes, "outcome": case["outcome"]}


@pytest.mark.long
@pytest.mark.usefixtures("project")
def test_same_bytes_everywhere(pytester: pytest.Pytester) -> None:
    """A run, its repetition, a run beside another target, and a larger card capped to the target agree to the byte."""
    first = cases(pytester, "--vram-target=rtx3060")
    second = cases(pytester, "--vram-target=rtx3060")
    beside = cases(pytester, "--vram-target=a100-80,rtx3060")
    pytester.makeconftest(STAND_IN)
    capped = cases(pytester, "--vram-target=rtx3060", "--vram-device=cuda")
    key = ("test_recipe", "rtx3060")

    assert "PASS" == first[key]["outcome"]
    assert numbers(first[key]) == numbers(second[key]) == numbers(beside[key]) == numbers(capped[key])
    assert "NVIDIA A100-SXM4-80GB" == capped[key]["device"]["name"]


@pytest.mark.long
@pytest.mark.usefixtures("project")
def test_capped_card_is_full_where_the_target_is(pytester: pytest.Pytester) -> None:
    """What does not fit the target does not fit the larger card that stands in for it, and the same gate says so."""
    key = ("test_too_large", "rtx3060")
    own = cases(pytester, "--vram-target=rtx3060", "-k", "too_large")[key]
    pytester.makeconftest(STAND_IN)
    capped = cases(pytester, "--vram-target=rtx3060", "--vram-device=cuda", "-k", "too_large")[key]

    assert "out_of_memory" == own["reading"]["kind"] == capped["reading"]["kind"]
    assert "FAIL" == own["outcome"] == capped["outcome"]
