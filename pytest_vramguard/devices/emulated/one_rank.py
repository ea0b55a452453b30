"""One rank of a distributed training in this process, and no other one anywhere."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore

from pytest_vramguard.devices.emulated.absent_ranks import do_without_absent_ranks

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def one_rank(rank: int, world_size: int) -> Iterator[None]:
    """Be `rank` of `world_size` ranks, as if `torchrun` had started this process on a node that shows it one card.

    What code in the block made of that is undone afterwards: process groups, environment, and the state that accelerate keeps.

    Raises:
        DeviceUnavailable: this version of torch makes its process groups in another way.
    """
    # torchrun's agent holds the store too, and each of its processes is told where.
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    variables = {
        "RANK": rank,
        "WORLD_SIZE": world_size,
        "LOCAL_RANK": 0,
        "LOCAL_WORLD_SIZE": 1,
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": store.port,
        "TORCHELASTIC_USE_AGENT_STORE": True,
    }
    with ExitStack() as stack:
        stack.enter_context(_environment({name: str(value) for name, value in variables.items()}))
        stack.enter_context(_fresh_accelerate())
        stack.enter_context(_own_groups())
        do_without_absent_ranks()
        yield


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set `variables`, and take back whatever has changed by the end."""
    former = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(former)


@contextmanager
def _fresh_accelerate() -> Iterator[None]:
    """Let accelerate find out anew how the process is run, and give it back what it thought before."""
    kept = [(state, dict(state)) for state in _accelerate_states()]
    for state, _values in kept:
        state.clear()
    try:
        yield
    finally:
        former = {id(state): values for state, values in kept}
        for state in _accelerate_states():
            state.clear()
            state.update(former.get(id(state), {}))


def _accelerate_states() -> list[dict[str, Any]]:
    """Return the dictionaries in which accelerate keeps one state for all of its objects; none if it is not in use."""
    if "accelerate" not in sys.modules:
        return []
    from accelerate.state import AcceleratorState, GradientState, PartialState

    return [PartialState._shared_state, AcceleratorState._shared_state, GradientState._shared_state]


@contextmanager
def _own_groups() -> Iterator[None]:
    """End the process groups of the block, and let torch make them again as it did before."""
    former = dict(dist.Backend._plugins)
    try:
        yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        dist.Backend._plugins.update(former)
