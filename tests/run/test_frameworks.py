"""Commands of training frameworks run below `vramguard run` as they are, and peak at the same bytes again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.stack.frameworks import tiny

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.stack]

BIN = Path(sys.executable).parent
LOOP = """
import torch
from accelerate import Accelerator

accelerator = Accelerator(gradient_accumulation_steps=2)
print("precision", accelerator.mixed_precision)
model = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.ReLU(), torch.nn.Linear(512, 512))
optimizer = torch.optim.AdamW(model.parameters())
samples = torch.utils.data.TensorDataset(torch.randn(64, 512), torch.arange(64))
loader = torch.utils.data.DataLoader(samples, batch_size=8)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
seen = []
for numbers, labels in loader:
    with accelerator.accumulate(model):
        loss = model(numbers).square().mean()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    seen += accelerator.gather(labels).tolist()
    losses = accelerator.gather_for_metrics(loss.detach().repeat(8))
print("seen in order", seen == list(range(64)), losses.shape)
"""
"""A loop of anybody's own with accelerate."""
ASKED_FIRST = """
import importlib.util
assert importlib.util.find_spec("torch")
import torch
torch.zeros(2**20, device="cuda")
"""
"""Asks whether torch is installed before it imports it, as transformers does."""


@pytest.fixture
def measured(tmp_path: Path) -> Callable[..., tuple[list[dict[str, Any]], str]]:
    """Return a function that runs a command in a folder on an emulated card, and gives the readings and what was printed."""

    def run(*command: str) -> tuple[list[dict[str, Any]], str]:
        started = [str(BIN / "vramguard"), "run", "--target", "rtx3060", "--json", "report.json", "--", *command]
        ended = subprocess.run(started, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
        assert 0 == ended.returncode, ended.stdout + ended.stderr
        cases = json.loads(tmp_path.joinpath("report.json").read_text(encoding="utf-8"))["cases"]
        # A launcher that opens the card, as trl's own process does, is a case without memory.
        return [case["reading"] for case in cases if case["reading"]["peak_reserved_bytes"]], ended.stdout

    return run


@pytest.mark.long
def test_trl_sft(measured: Any, tmp_path: Path) -> None:
    """`trl sft` with a dataset and a model from disk, and LoRA."""
    tiny.model(dtype=torch.bfloat16).save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    tmp_path.joinpath("data").mkdir()
    rows = "".join(f"{json.dumps(row)}\n" for row in tiny.conversations(32))
    tmp_path.joinpath("data", "train.jsonl").write_text(rows, encoding="utf-8")
    command = "sft --model_name_or_path model --dataset_name data --output_dir out --max_steps 3 --use_peft --report_to none"

    first, second = (measured(str(BIN / "trl"), *command.split())[0] for _ in range(2))

    assert first == second
    assert ["until the first optimizer step", "optimizer", "first step", "steady"] == [
        name for reading in first for name in reading["phases"]
    ]


@pytest.mark.long
def test_accelerate_launch_with_accumulation_and_mixed_precision(measured: Any, tmp_path: Path) -> None:
    """`accelerate launch` of a loop that accumulates gradients in bf16 and gathers known labels and unknown losses."""
    tmp_path.joinpath("loop.py").write_text(LOOP, encoding="utf-8")
    command = (str(BIN / "accelerate"), "launch", "--num_processes=1", "--mixed_precision=bf16", "loop.py")

    first, text = measured(*command)
    second, _ = measured(*command)

    assert "precision bf16" in text
    assert "seen in order True torch.Size([8])" in text
    assert 1 == len(first)
    assert first == second


def test_torch_that_was_asked_for_first(measured: Any) -> None:
    """A process that asks whether torch is installed before it imports it is measured like any other."""
    (reading,), _ = measured(sys.executable, "-c", ASKED_FIRST)

    assert 4 * 2**20 == reading["peak_allocated_bytes"]
