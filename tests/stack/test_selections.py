"""Operators that torch does with CUB, which chooses its kernels by the version of the code and not of the card."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.stack]

PROGRAM = """
import sys
from pytest_vramguard.cards import load_catalogue
from pytest_vramguard.devices.emulated import EmulatedDevice
EmulatedDevice().enter(load_catalogue().find(sys.argv[1]))
import torch
numbers, indices = torch.zeros(5000, device="cuda"), torch.zeros(5000, dtype=torch.int64, device="cuda")
numbers.sort(), indices.sort(), numbers.cumsum(0), numbers.topk(5), numbers.median(), torch.randperm(5000, device="cuda")
numbers.masked_select(numbers > 0), indices.unique(), indices.nonzero()
torch.ops.aten.index_put(numbers, [indices], numbers, True)
torch.ops.aten.embedding_dense_backward(torch.zeros(5000, 64, device="cuda"), indices, 1000, -1, False)
torch.cuda.synchronize()
print(torch.cuda.get_device_capability())
"""


@pytest.mark.parametrize(("card", "capability"), [("rtx4090", (8, 9)), ("rtx5090", (12, 0))])
def test_sorting_and_selecting(card: str, capability: tuple[int, int]) -> None:
    """No build of torch has code for 8.9, whose cards run that of 8.6; others have their own."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("VRAMGUARD_")}
    done = subprocess.run(
        (sys.executable, "-W", "ignore", "-c", PROGRAM, card),
        env=clean,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )

    assert f"{capability}\n" == done.stdout, done.stderr
