"""A process that runs hundreds of cases does not grow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.plugin.projects import EMULATED, run_once

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.stack, pytest.mark.long]

CASES: Final = 300
SETTLED: Final = 10
"""The case with which the last is compared: by then everything is imported and every cache is filled."""
RECIPE: Final = """
[model]
pretrained_model_name_or_path = "ours"
dtype = "bfloat16"
[model.config]
model_type = "llama"
vocab_size = 3000
hidden_size = 64
intermediate_size = 128
num_hidden_layers = 2
num_attention_heads = 4
[quantization]
load_in_4bit = true
[peft]
r = 4
[training]
bf16 = true
gradient_checkpointing = true
optim = "paged_adamw_8bit"
per_device_train_batch_size = 1
[data]
synthetic_length = 32
"""
PROJECT: Final = f"""
import pytest

@pytest.mark.vram
@pytest.mark.parametrize("number", range({CASES}))
def test_case(vram, number):
    vram.train("recipe.toml")
"""
RESIDENT: Final = """
import pathlib

def pytest_runtest_logfinish():
    resident_pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    with pathlib.Path("resident.txt").open("a") as lines:
        lines.write(f"{resident_pages}\\n")
"""
"""Notes the resident host memory after each test."""


def test_host_memory_of_the_last_case_is_that_of_the_tenth(tmp_path: Path) -> None:
    """Within 5 %, after 300 cases with quantised weights, an adapter and a paged optimizer."""
    files = {"recipe.toml": RECIPE, "test_cases.py": PROJECT, "conftest.py": RESIDENT}
    ran = run_once(tmp_path, files, "--vram-target", "rtx3060", *EMULATED, timeout_seconds=1800)
    resident = [int(line) for line in tmp_path.joinpath("resident.txt").read_text(encoding="utf-8").splitlines()]

    assert {"PASS"} == set(ran.verdicts.values())
    assert CASES == len(resident)
    assert resident[-1] <= 1.05 * resident[SETTLED - 1]
