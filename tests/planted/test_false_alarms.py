"""What did not change raises no alarm, however often it runs, and what grew by little in a large case does."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from pytest_vramguard.units import MIB
from tests.plugin.projects import ON_RTX3060, Run, run_once

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.stack, pytest.mark.long]

CASES: Final = 50
AGAIN: Final = ((), ("-n", "4"), ("--reruns", "1"), ("-n", "2", "--dist", "load"))
"""How all cases are run again, 200 in all."""
UNCHANGED: Final = f"""
import pytest
import torch


@pytest.mark.vram(max_growth="0, reserved=0, device=0", max_shrink="0", max_creep="0", max_slowdown="5%")
@pytest.mark.parametrize("number", range({CASES}))
def test_unchanged(vram, number):
    with vram.phase("load"):
        layers = (torch.nn.Linear(128 + 8 * (number % 5), 128 + 8 * (number % 5)) for _ in range(2 + number % 3))
        model = torch.nn.Sequential(*layers).cuda()
        optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(8):
        with vram.step(tokens=16):
            model(torch.randn(16, model[0].in_features, device="cuda")).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
"""
SEVEN_BILLION: Final = """
import os

import pytest
import torch


@pytest.mark.vram(max_growth="0", steps=1)
def test_llama2_7b(vram):
    kept = [torch.empty(2**21, dtype=torch.uint8, device="cuda") for _ in range(int(os.environ.get("PLANTED", "0")))]
    vram.train("llama2-7b.toml")
    del kept
"""
RECIPE: Final = """
[model]
pretrained_model_name_or_path = "meta-llama/Llama-2-7b-hf"
dtype = "bfloat16"

[quantization]
load_in_4bit = true
bnb_4bit_quant_type = "nf4"
bnb_4bit_compute_dtype = "bfloat16"

[peft]
r = 8
target_modules = ["q_proj", "v_proj"]

[training]
per_device_train_batch_size = 1
gradient_checkpointing = true
optim = "adamw_bnb_8bit"
bf16 = true

[data]
synthetic_length = 512
"""


def test_unchanged_code_raises_no_alarm(tmp_path: Path) -> None:
    """Of 200 cases that run again, in other processes and in another order, none grows, shrinks or creeps by a byte."""
    files = {"test_unchanged.py": UNCHANGED, "pyproject.toml": ""}
    statuses = [run_once(tmp_path, files, "--vram-accept", *ON_RTX3060).result.ret]
    judged: Counter[tuple[str, str]] = Counter()

    for arguments in AGAIN:
        run = run_once(tmp_path, files, *arguments, *ON_RTX3060)
        statuses.append(run.result.ret)
        judged.update((verdict["gate"], verdict["outcome"]) for case in run.cases.values() for verdict in case["verdicts"])

    every = CASES * len(AGAIN)
    assert [0] * (1 + len(AGAIN)) == statuses
    assert {
        ("fit", "PASS"): every,
        ("creep", "PASS"): every,
        ("growth", "PASS"): 3 * every,
        ("shrink", "PASS"): every,
        ("slowdown", "UNJUDGED"): every,
    } == dict(judged)


def test_two_mebibytes_in_seven_billion_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor of 2 MiB beside Llama-2-7B in 4 bits fails the growth gate, and the same code again does not.

    It grows by less than 2 MiB: the allocator counts whole blocks, and the tensor takes room that was left over in one.
    """
    files = {"test_seven.py": SEVEN_BILLION, "llama2-7b.toml": RECIPE, "pyproject.toml": ""}
    run_once(tmp_path, files, "--vram-accept", *ON_RTX3060)
    silent = judged(run_once(tmp_path, files, *ON_RTX3060))
    monkeypatch.setenv("PLANTED", "1")
    loud = judged(run_once(tmp_path, files, *ON_RTX3060))

    assert (0, "PASS") == silent[:2]
    assert (1, "FAIL") == loud[:2]
    assert 0 < loud[2] - silent[2] <= 2 * MIB


def judged(run: Run) -> tuple[int, str, int]:
    """Return the status of a run of the 7B case, the verdict, and the allocated peak."""
    [case] = run.cases.values()
    return int(run.result.ret), case["outcome"], case["reading"]["peak_allocated_bytes"]
