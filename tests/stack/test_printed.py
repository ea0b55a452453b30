"""Tensors on the emulated card can be printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from pytest_vramguard.devices.emulated.known.printed import printed_from_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from pytest_vramguard.devices.emulated.known.mode import KnownValues

pytestmark = pytest.mark.stack


@pytest.fixture(autouse=True)
def printed(values: KnownValues) -> Iterator[None]:
    """Print as a training script does."""
    with printed_from_host(values):
        yield


@pytest.mark.parametrize(
    "numbers",
    [
        torch.tensor(2.5),
        torch.tensor([2.5, -1.25e-7]),
        torch.tensor([[1.0, torch.nan], [torch.inf, 0.0]]),
        torch.tensor([1.5, 0.25], dtype=torch.bfloat16),
        torch.tensor([1 + 2j, 3 - 0.5j]),
        torch.arange(5),
        torch.tensor([True, False]),
        torch.empty(0),
        torch.arange(2000.0),
        torch.tensor([0.5], requires_grad=True),
    ],
    ids=lambda numbers: f"{numbers.dtype} {list(numbers.shape)}",
)
def test_known_numbers_are_shown(numbers: torch.Tensor) -> None:
    """What follows from host values is shown as the CPU shows it, with the device behind."""
    on_card = numbers.detach().cuda().requires_grad_(numbers.requires_grad)
    text, separator, rest = repr(on_card).partition("device='cuda:0'")

    assert separator
    assert repr(numbers).replace(")", "").split() == (text.rstrip().removesuffix(",") + rest).replace(")", "").split()


@pytest.mark.parametrize("grad_mode", [torch.enable_grad, torch.inference_mode])
def test_an_unknown_loss_is_shown_as_zero_and_counted(
    values: KnownValues, grad_mode: Callable[[], AbstractContextManager[object]]
) -> None:
    """A loss that nobody computed is shown as 0, and who printed it is in the report."""
    before = values.log.metrics.total()

    with grad_mode():
        assert "tensor(0., device='cuda:0')" == f"{torch.rand(8, device='cuda').sum()!r}"

    assert before + 1 == values.log.metrics.total()
    assert any("test_printed.py" in place for place in values.log.metrics)


def test_a_large_unknown_tensor_is_shown_in_part() -> None:
    """A weight is shown by its edges."""
    text = repr(torch.empty(2**12, 2**12, device="cuda"))

    assert "[0., 0., 0.,  ..., 0., 0., 0.]" in text
    assert text.endswith("device='cuda:0')")
