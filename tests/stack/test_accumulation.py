"""Following values changes no allocation: gradients are added in place, as without it."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from pytest_vramguard.devices.emulated.known.mode import KnownValues

pytestmark = [pytest.mark.stack]


def events(*, followed: bool) -> list[tuple[str, int]]:
    """Return the allocations and frees of a pass in which several gradients meet."""
    weights = torch.randn(1024, 1024, device="cuda", requires_grad=True)
    torch.cuda.memory._record_memory_history(max_entries=1000)
    with KnownValues() if followed else nullcontext():
        hidden = weights * 1.0
        (hidden * 2 + hidden * 3 + hidden * hidden + hidden.exp()).sum().backward()
    found = torch.cuda.memory._snapshot()["device_traces"][0]
    torch.cuda.memory._record_memory_history(enabled=None)
    return [(event["action"], event["size"]) for event in found if event["action"] in {"alloc", "free_completed"}]


def test_gradients_are_added_in_place() -> None:
    """The allocator sees the same requests in the same order, whether values are followed or not."""
    assert events(followed=False) == events(followed=True)
