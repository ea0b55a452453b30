"""Triton kernels are compiled for the card, launched, and autotuned to an end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import torch
import triton
import triton.language as tl

from pytest_vramguard.devices.emulated import libraries

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_vramguard.recipes.callback import StepCallback
    from tests.stack.frameworks.conftest import Runner

pytestmark = [pytest.mark.stack]

NUMBERS = 4096
CONFIGS = [triton.Config({"BLOCK": block}, num_warps=warps) for block, warps in ((128, 4), (512, 4), (1024, 8))]


@triton.autotune(configs=CONFIGS, key=["count"])  # type: ignore[untyped-decorator] # Triton has no types
@triton.jit  # type: ignore[untyped-decorator] # Triton has no types
def doubled_kernel(source, target, count, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201, N803
    """Write twice what `source` holds."""
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    held = places < count
    tl.store(target + places, 2 * tl.load(source + places, mask=held), mask=held)


def doubled(source: torch.Tensor) -> torch.Tensor:
    """Return what the autotuned kernel writes."""
    target = torch.zeros_like(source)
    doubled_kernel[lambda chosen: (triton.cdiv(NUMBERS, chosen["BLOCK"]),)](source, target, NUMBERS)
    return target


@pytest.fixture(autouse=True)
def fresh_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Compile everything anew."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))


def test_autotuning_ends_and_is_marked(ran_on_card: Runner, tmp_path: Path) -> None:
    """Each configuration is compiled for the card's own architecture; the choice by an emulated clock is noted."""
    before = libraries.counted()["launches"]
    found = ran_on_card(lambda _: doubled(torch.ones(NUMBERS, device="cuda")))

    assert len(CONFIGS) == len(list(tmp_path.glob("triton/*/doubled_kernel.cubin")))
    assert all(".target sm_86" in path.read_text() for path in tmp_path.glob("triton/*/doubled_kernel.ptx"))
    assert before < libraries.counted()["launches"]
    assert any(note.startswith("times came from a clock that counts launches") for note in found.notes)
    assert "test_triton.py" in found.notes[-1]


def test_what_a_kernel_wrote_is_not_known(ran_on_card: Runner) -> None:
    """The target of an autotuned kernel was known to be zero, and is unknown afterwards."""
    found = ran_on_card(lambda _: doubled(torch.ones(8, device="cuda", dtype=torch.int64)).nonzero())

    assert re.match(r"data-dependent: nonzero at \S*frameworks/test_triton\.py:\d+", found.gaps[0])


def test_compiled_loop(twice: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.compile` of a loop of one's own does, and peaks at, the same each time: what it compiled before is not found.

    Kernels among which it chooses are tried on the card, with a buffer that moves where later blocks lie.
    """
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    launches = []

    def train(_callback: StepCallback) -> None:
        before = libraries.counted()["launches"]
        model = torch.nn.Sequential(torch.nn.Linear(512, 8192), torch.nn.LayerNorm(8192), torch.nn.Softmax(-1)).cuda()
        optimizer = torch.optim.AdamW(model.parameters())

        @torch.compile
        def loss_of(numbers: torch.Tensor) -> torch.Tensor:
            loss: torch.Tensor = model(numbers).square().mean()
            return loss

        for _ in range(3):
            loss_of(torch.randn(1024, 512, device="cuda")).backward()
            optimizer.step()
            optimizer.zero_grad()
        launches.append(libraries.counted()["launches"] - before)

    twice(train)

    assert launches[0] == launches[1] > 0
