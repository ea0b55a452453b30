"""Operators that torch does with CUB, which chooses its kernels by the version of the code and not of the card."""

from __future__ import annotations

import pytest

from tests.stack.processes import printed_by

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
    assert f"{capability}\n" == printed_by("-c", PROGRAM, card)
