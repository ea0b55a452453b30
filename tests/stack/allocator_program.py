"""What a program sees of the allocator that `PYTORCH_ALLOC_CONF` names: run by test_allocators.py in a process of its own.

    python -m tests.stack.allocator_program NAME

Prints one JSON object.
"""

from __future__ import annotations

import gc
import json
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from pytest_vramguard.cards import load_catalogue
from pytest_vramguard.devices.emulated import EmulatedDevice, libraries

if TYPE_CHECKING:
    from collections.abc import Callable

DEVICE: Final = EmulatedDevice()
DEVICE.enter(load_catalogue().find("rtx3060"))

import torch  # noqa: E402 # the card must be in place first

MIB: Final = 2**20


def block(mebibytes: int) -> torch.Tensor:
    """Return so much of the card's memory."""
    return torch.empty(mebibytes * MIB, dtype=torch.uint8, device="cuda")


def books() -> dict[str, float]:
    """Return what torch and the driver say is in use, in MiB; the driver's without the card's context."""
    usage = libraries.usage()
    context_bytes = load_catalogue().find("rtx3060").context_bytes
    return {
        "allocated": torch.cuda.memory_allocated() / MIB,
        "reserved": torch.cuda.memory_reserved() / MIB,
        "driver": (usage.used_bytes - context_bytes) / MIB,
    }


def fill() -> str:
    """Ask for more than the card has; returns the first words of what torch says."""
    try:
        block(20 * 1024)
    except torch.OutOfMemoryError as error:
        return str(error).split(".")[0].split("\n")[0]
    return "no error"


def life() -> dict[str, object]:
    """Allocate, free, empty the cache, fill the card and train: what every allocator must do."""
    told: dict[str, object] = {"backend": torch.cuda.get_allocator_backend()}
    large, other = block(100), block(30)
    told["two blocks"] = books()
    small = torch.tensor([1, 2, 3]).cuda()
    told["bytes"] = small.tolist()
    del large, small
    told["one freed"] = books()
    torch.cuda.empty_cache()
    told["emptied"] = books()
    told["full"] = fill()
    told["after"] = books()
    del other
    told["trained"] = trained()
    gc.collect()
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    told["end"] = books()
    told["peak reserved"] = torch.cuda.max_memory_reserved() / MIB
    return told


def trained() -> float:
    """Train four layers for three steps; returns the allocated MiB."""
    model = torch.nn.Sequential(*(torch.nn.Linear(1024, 1024, bias=False) for _ in range(4))).cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(3):
        model(torch.empty(64, 1024, device="cuda")).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return torch.cuda.memory_allocated() / MIB


def split() -> dict[str, object]:
    """Free a large block and ask for a part of it: `max_split_size_mb` says whether it may be split."""
    large = block(100)
    del large
    part = block(30)
    told = books()
    del part
    return {"part": told}


def collected() -> dict[str, object]:
    """Free a block, then ask for a larger one that fits under a cap only without it.

    `garbage_collection_threshold` gives the free block back before the cap is reached; otherwise the allocator has to retry.
    """
    torch.cuda.set_per_process_memory_fraction(0.1)
    unused = block(600)
    del unused
    larger = block(700)
    return {"later": books(), "size": larger.numel() / MIB, "retries": torch.cuda.memory_stats()["num_alloc_retries"]}


def rounded() -> dict[str, object]:
    """Ask for 1200 MiB where powers of two are divided by four."""
    odd = torch.empty(1200 * MIB, dtype=torch.uint8, device="cuda")
    return {"odd": books(), "size": odd.numel() / MIB}


def pools() -> dict[str, object]:
    """Allocate in a pool of one's own, and under a cap."""
    told: dict[str, object] = {}
    pool = torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(pool):
        inside = block(40)
    outside = block(40)
    told["segments"] = len(pool.snapshot())
    told["both"] = books()
    del inside, outside
    torch.cuda.empty_cache()
    told["pool kept"] = books()
    del pool
    torch.cuda.empty_cache()
    told["pool gone"] = books()
    torch.cuda.set_per_process_memory_fraction(0.5)
    try:
        block(6 * 1024)
    except torch.OutOfMemoryError as error:
        told["capped"] = "allowed" in str(error)
    return told


def graph() -> dict[str, object]:
    """Capture a training step, replay it, and do what capture forbids."""
    inputs = torch.randn(64, 1024, device="cuda")
    model = torch.nn.Linear(1024, 1024, bias=False).cuda()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        model(inputs).sum().backward()
    torch.cuda.current_stream().wait_stream(side)
    model.zero_grad(set_to_none=True)
    torch.cuda.empty_cache()
    before = books()
    captured = torch.cuda.CUDAGraph()
    counts = [libraries.counted()]
    with torch.cuda.graph(captured):
        output = model(inputs).sum()
        output.backward()
    counts.append(libraries.counted())
    for _ in range(2):
        captured.replay()
        counts.append(libraries.counted())
    work = [(count["launches"] + count["compute_calls"]) for count in counts]
    held = books()
    told: dict[str, object] = {"before": before, "held": held, "work": [later - former for former, later in pairwise(work)]}
    told["callables"] = graphed()
    told["forbidden"] = [refused_in_capture(torch.cuda.synchronize), refused_in_capture(lambda: inputs.sum().item())]
    del captured, output
    model.zero_grad(set_to_none=True)
    gc.collect()
    torch.cuda.empty_cache()
    told["given back"] = books()["reserved"] < held["reserved"]
    return told


def graphed() -> list[int]:
    """Return the shape of what a graphed module gives, forward and backward."""
    sample = torch.randn(8, 64, device="cuda", requires_grad=True)
    graphed_layer = torch.cuda.make_graphed_callables(torch.nn.Linear(64, 32).cuda(), (sample,))
    result = graphed_layer(torch.randn(8, 64, device="cuda", requires_grad=True))
    assert isinstance(result, torch.Tensor)
    result.sum().backward()
    return list(result.shape)


def refused_in_capture(forbidden: Callable[[], object]) -> str:
    """Do what capture forbids; returns the text of the first error."""
    try:
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            forbidden()
    except RuntimeError as error:
        first = error.__context__ or error
        return str(first).splitlines()[0]
    return "no error"


def host() -> dict[str, object]:
    """Hold pinned and managed memory, and try to share a tensor with another process."""
    import bitsandbytes.functional

    libraries.reset_peaks()
    pinned = torch.empty(64 * MIB, dtype=torch.uint8, pin_memory=True)
    paged = bitsandbytes.functional.get_paged(1024 * MIB, dtype=torch.uint8, device=torch.device("cuda", 0))
    roomy = libraries.outside()
    filler = [block(1024) for _ in range(11)]
    crowded = libraries.outside()
    told: dict[str, object] = {
        "pinned": pinned.numel() / MIB,
        "paged": paged.numel() / MIB,
        "roomy": [roomy.managed_bytes / MIB, roomy.managed_host_bytes / MIB],
        "crowded": crowded.managed_host_bytes / MIB > 0,
        "pinned peak": crowded.pinned_bytes / MIB,
        "filler": len(filler),
    }
    try:
        filler[0].untyped_storage()._share_cuda_()
    except RuntimeError:
        told["shared"] = list(libraries.refused())
    return told


if __name__ == "__main__":
    with DEVICE.running():
        sys.stdout.write(json.dumps(globals()[sys.argv[1]]()))
