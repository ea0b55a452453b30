"""Numbers that nobody computed are taken to be finite, in tensors of any size; known ones are judged by what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from pytest_vramguard.devices.emulated.known.mode import KnownValues

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("values")]

LARGE = torch.Size((4096, 512))
"""Of 4-byte numbers: 8 MiB, more than is ever kept known."""


def test_unknown_numbers_are_finite(values: KnownValues) -> None:
    """Code that looks for NaN and infinity before it goes on finds none."""
    before = values.log.reads.total()
    loss = torch.rand(LARGE, device="cuda").mean()

    assert torch.isfinite(loss)
    assert not torch.isnan(loss)
    assert not torch.isinf(loss)
    assert before == values.log.reads.total()


def test_large_unknown_tensors_are_finite(values: KnownValues) -> None:
    """Code that looks over whole weights before it merges into them finds nothing wrong, until something is written."""
    before = values.log.reads.total()
    weights = torch.rand(2**23, device="cuda")
    finite = torch.isfinite(weights)

    assert finite.all()
    assert not (~finite).any()
    assert not (torch.isnan(weights) | torch.isinf(weights)).any()
    assert before == values.log.reads.total()

    assert 0 == (finite * 3).sum().item()  # numbers made of truth values are not followed, and the read is counted
    assert before + 1 == values.log.reads.total()

    finite.mul_(torch.rand(2**23, device="cuda") > 0.5)

    assert not finite.all()  # nobody can know, and it is counted
    assert before + 2 == values.log.reads.total()


def test_known_numbers_may_be_infinite() -> None:
    """A known number is judged by what it is."""
    known_numbers = torch.tensor([1.0, float("inf"), float("nan")]).cuda()

    assert [True, False, False] == torch.isfinite(known_numbers).tolist()
    assert [False, True, False] == torch.isinf(known_numbers).tolist()
    assert [False, False, True] == torch.isnan(known_numbers).tolist()
    assert [True, True, False] == (known_numbers == known_numbers).tolist()  # noqa: PLR0124 # how NaN is found
