"""Values that collectives leave on the emulated card."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from pytest_vramguard.devices.emulated.known.collectives import Collectives

if TYPE_CHECKING:
    from pytest_vramguard.devices.emulated.known.mode import KnownValues

pytestmark = [pytest.mark.stack]


def test_reduction_that_does_not_say_its_name_leaves_nothing_known(values: KnownValues) -> None:
    """An all-reduce of torch 2.2, whose reduction is an object without the method that says which, is not followed."""
    tensor = torch.ones(2).cuda()
    before = values.known.holds(tensor)
    reduction, group, work = object(), object(), None

    Collectives(known=values.known, log=values.log).follow("c10d::allreduce_", ([tensor], group, reduction), work)

    assert before
    assert not values.known.holds(tensor)
