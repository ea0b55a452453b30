"""A recipe with `[distributed]` is one rank of several in one process, which is afterwards as it was before."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.plugin.projects import EMULATED, run_once

pytestmark = [pytest.mark.stack, pytest.mark.long]

RECIPE: Final = """
[model]
pretrained_model_name_or_path = "ours"
dtype = "float32"
[model.config]
model_type = "llama"
vocab_size = 3000
hidden_size = 256
intermediate_size = 704
num_hidden_layers = 2
num_attention_heads = 4
[training]
bf16 = true
per_device_train_batch_size = 1
[data]
synthetic_length = 64
[distributed]
world_size = 8
"""
PROJECT: Final = """
import os
import pytest

FSDP = {"fsdp": True, "fsdp_config": {"version": 2}}
KINDS = {
    "one card": {"distributed": None},
    "ddp": {},
    "qlora": {"peft": {"r": 4}, "quantization": {"load_in_4bit": True}},
    "fsdp": {"training": FSDP},
    "last rank": {"training": FSDP, "distributed": {"rank": 7}},
    "fsdp again": {"training": FSDP},
    "one card again": {"distributed": None},
}

@pytest.mark.vram
@pytest.mark.parametrize("kind", KINDS)
def test_kind(vram, kind):
    before = dict(os.environ)
    vram.train("recipe.toml", **KINDS[kind])
    assert {key: value for key, value in os.environ.items() if before.get(key) != value and "TORCHINDUCTOR" not in key} == {}
"""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Train each kind in one process after the other, and return the cases of the report by kind."""
    files = {"recipe.toml": RECIPE, "test_kinds.py": PROJECT}
    found = run_once(tmp_path_factory.mktemp("ranks"), files, "--vram-target", "a100-80", *EMULATED).cases
    return {name.partition("[")[2].rstrip("]"): case for name, case in found.items()}


def readings(cases: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what each kind measured."""
    return {kind: case["reading"] for kind, case in cases.items()}


def test_each_kind_is_judged(cases: dict[str, dict[str, Any]]) -> None:
    """DDP and FSDP train in one process, with a quantised model too."""
    expected = ["one card", "ddp", "qlora", "fsdp", "last rank", "fsdp again", "one card again"]

    assert dict.fromkeys(expected, "PASS") == {kind: case["outcome"] for kind, case in cases.items()}


def test_weights_are_whole_or_sharded(cases: dict[str, dict[str, Any]]) -> None:
    """Every rank of DDP holds all weights, and a bucket of gradients beside them; of FSDP an eighth, the last rank too."""
    found = readings(cases)
    weights = {kind: reading["parts"]["weights"] for kind, reading in found.items()}

    assert weights["one card"] == weights["ddp"]
    assert found["one card"]["peak_allocated_bytes"] < found["ddp"]["peak_allocated_bytes"]
    assert weights["one card"] // 8 <= weights["fsdp"] == weights["last rank"] <= weights["one card"] // 8 + 20 * 512


def test_notes_say_what_was_assumed(cases: dict[str, dict[str, Any]]) -> None:
    """A reader learns which ranks were run, what NCCL holds, and what this case alone has given it."""
    found = readings(cases)

    assert "of 8 ranks only 7 were run: what another one would differ in is not known" in found["last rank"]["notes"]
    assert "NCCL's buffers: 576.0 MiB of the memory outside the allocator, by formula" in found["fsdp"]["notes"]
    assert found["fsdp"]["notes"] == found["fsdp again"]["notes"]
    assert found["one card"]["notes"] == found["one card again"]["notes"]


def test_nothing_is_left_of_the_ranks(cases: dict[str, dict[str, Any]]) -> None:
    """The same recipe peaks at the same bytes again, with ranks and without."""
    found = readings(cases)
    peaks = {kind: (reading["peak_allocated_bytes"], reading["peak_device_bytes"]) for kind, reading in found.items()}

    assert peaks["fsdp"] == peaks["fsdp again"]
    assert peaks["one card"] == peaks["one card again"]
