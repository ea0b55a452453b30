"""Process groups of ranks most of which are not run.

A group is what it is, with its true size and rank, and its collectives go through torch's own ProcessGroupNCCL to the emulated
NCCL, which asks no peer. Only what would wait for an absent rank is changed: the identity of a communicator, which its first
rank writes into the store, is there from the start, and groups of the host (gloo) are torch's own fake ones, which talk to
nobody. What their calls would have brought is worked out in `known/collectives.py`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from torch._C._distributed_c10d import FakeProcessGroup, HashStore, Store
from torch.distributed import Backend

from pytest_vramguard.errors import DeviceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

UNIQUE_ID: Final = "vramguard".ljust(128, "\0")
"""As the emulated NCCL makes it; torch passes it on and never looks."""
MOST_COMMUNICATORS: Final = 64
"""Communicators of one group that are provided for: one for each device that a rank uses, and one more after each abort."""


def do_without_absent_ranks() -> None:
    """Make the process groups of this process independent of ranks that are not run.

    Raises:
        DeviceUnavailable: this version of torch makes its groups in another way.
    """
    os.environ["TORCH_DIST_INIT_BARRIER"] = "0"  # a barrier in the store would count all ranks
    for name in ("NCCL", "GLOO"):
        plugin = _registered(name)
        create = _create_lonely(plugin.creator_fn) if name == "NCCL" else _create_fake
        Backend._plugins[name] = plugin._replace(creator_fn=create)


def _registered(name: str) -> Any:
    """Return how torch makes groups of a backend."""
    try:
        Backend._ensure_backend_registered(name)
        plugin = Backend._plugins[name]
    except (AttributeError, KeyError) as fault:
        message = (
            f"ranks that are not run: this torch does not say how it makes {name} groups, expected torch 2.14 or newer; "
            "run all ranks: vramguard run --gpus"
        )
        raise DeviceUnavailable(message) from fault
    return plugin


def _create_lonely(create: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def create_lonely(options: Any, backend_options: Any) -> Any:
        options.store = _store_with_identities(options.group_rank, options.group_size)
        return create(options, backend_options)

    return create_lonely


def _create_fake(options: Any, _backend_options: Any) -> FakeProcessGroup:
    return FakeProcessGroup._create_internal(options.group_rank, options.group_size)


def _store_with_identities(rank: int, size: int) -> Store:
    """Return a store of this process alone that holds the identity of every communicator that a group may make.

    Their keys are a running number, and for messages between two ranks both of them, the lower first.
    Source: torch, torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp, getNCCLComm.
    """
    store = HashStore()
    pairs = [f"{min(rank, peer)}:{max(rank, peer)}" for peer in range(size)]
    for key in (*map(str, range(MOST_COMMUNICATORS)), *pairs):
        store.set(key, UNIQUE_ID)
    return store
