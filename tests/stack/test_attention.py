"""Attention takes the kernels that PyTorch takes on the real card: cuDNN's on Hopper, flash attention on Ampere."""

from __future__ import annotations

import pytest

from tests.stack.projects import cases, outcomes

pytestmark = [pytest.mark.stack]

PROJECT = """
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

BATCH, HEADS, LENGTH, WIDTH = 2, 8, 512, 128
INPUT_BYTES = BATCH * HEADS * LENGTH * WIDTH * 2  # of query, key or value, in bfloat16


def inputs():
    shape = (BATCH, HEADS, LENGTH, WIDTH)
    return [torch.empty(shape, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]


@pytest.mark.vram
@pytest.mark.parametrize("masked", [False, True], ids=["causal", "mask"])
def test_attention(vram, masked):
    mask = torch.zeros(1, 1, LENGTH, LENGTH, device="cuda", dtype=torch.bfloat16) if masked else None
    tensors = inputs()
    with vram.step(tokens=LENGTH):
        output = scaled_dot_product_attention(*tensors, attn_mask=mask, is_causal=not masked)
        name = type(output.grad_fn).__name__
        gradient = torch.empty_like(output)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        output.backward(gradient)
        backward_bytes = torch.cuda.max_memory_allocated() - before
    assert EXPECTED[masked] in name, name
    # Three gradients, and what cuDNN's frontend asks for: a sum of the query's gradient in fp32, and one number for each query.
    if "Cudnn" in name:
        rows_bytes = BATCH * HEADS * LENGTH * 4
        assert 3 * INPUT_BYTES + 2 * INPUT_BYTES + rows_bytes <= backward_bytes <= 5 * INPUT_BYTES + 2 * rows_bytes + 2048
"""


@pytest.mark.parametrize(
    ("target", "kernels"), [("h100", ("Cudnn", "Cudnn")), ("rtx3060", ("Flash", "Efficient"))], ids=["Hopper", "Ampere"]
)
def test_the_kernel_of_the_real_card_is_taken(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, target: str, kernels: tuple[str, str]
) -> None:
    """Causal attention and attention with a mask pass forward and backward, each through the kernel of its card."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytester.makepyfile(f"EXPECTED = {kernels!r}\n{PROJECT}")

    assert {"causal": ("PASS", None), "mask": ("PASS", None)} == outcomes(cases(pytester, target))
