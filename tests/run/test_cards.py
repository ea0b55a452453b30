"""Several emulated cards: every rank has a result, ranks agree on small values, and some ranks can stand for all."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import pytest

pytestmark = [pytest.mark.stack]

TORCHRUN: Final = str(Path(sys.executable).with_name("torchrun"))
ACCELERATE: Final = str(Path(sys.executable).with_name("accelerate"))
FSDP2: Final = """
import os
import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from transformers import LlamaConfig, LlamaForCausalLM

torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
dist.init_process_group("nccl")
sizes = dict(hidden_size=256, intermediate_size=704, num_attention_heads=4, num_key_value_heads=2, vocab_size=1024)
with torch.device("meta"):
    model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, use_cache=False, **sizes)).to(torch.bfloat16)
for layer in model.model.layers:
    fully_shard(layer)
fully_shard(model)
model.to_empty(device="cuda")
optimizer = torch.optim.AdamW(model.parameters())
for _ in range(2):
    ids = torch.randint(0, 1024, (1, 128)).cuda()
    model(input_ids=ids, labels=ids).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
dist.destroy_process_group()
"""
"""A small Llama, made on no device and sharded over all ranks before it has memory."""
ACCELERATED: Final = """
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

accelerator = Accelerator()
model = torch.nn.Linear(512, 512)
optimizer = torch.optim.AdamW(model.parameters())
data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(64, 512)), batch_size=8)
model, optimizer, data = accelerator.prepare(model, optimizer, data)
for (batch,) in data:
    accelerator.backward(model(batch).square().mean())
    optimizer.step()
    optimizer.zero_grad()
rank = accelerator.process_index
accelerator.wait_for_everyone()
assert [0, 1] == accelerator.gather(torch.tensor([rank], device=accelerator.device)).tolist()
assert [0, 1] == gather_object([rank])
"""
PARALLEL: Final = """
import os
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module


def train(model):
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(2):
        model(torch.randn(64, 1024, device="cuda")).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def layers():
    return nn.Sequential(nn.Linear(1024, 2048, bias=False), nn.ReLU(), nn.Linear(2048, 1024, bias=False)).cuda()


card = int(os.environ["LOCAL_RANK"])
torch.cuda.set_device(card)
mesh = init_device_mesh("cuda", (int(os.environ["WORLD_SIZE"]),))
train(parallelize_module(layers(), mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()}))
train(FullyShardedDataParallel(layers(), device_id=card))
dist.destroy_process_group()

dist.init_process_group(device_id=torch.device("cuda", card))  # bound to a card: the part is split off the whole
part = dist.new_group([0, 1])
number = torch.tensor([card + 1], device="cuda")
dist.all_reduce(number, group=part)
print("sum", number.item())
dist.destroy_process_group()
"""
"""Tensor parallel, FSDP as it was before `fully_shard`, and a group that is split off."""
SMALL_VALUES: Final = """
import os
import sys
import torch
import torch.distributed as dist

torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
dist.init_process_group("nccl")
rank, size = dist.get_rank(), dist.get_world_size()

def on_card(*numbers):
    return torch.tensor(numbers, device="cuda")

def reduced(operation, *numbers):
    tensor = on_card(*numbers)
    dist.all_reduce(tensor, operation)
    return tensor.tolist()

exec(sys.argv[1])
dist.barrier()
dist.destroy_process_group()
"""
"""Makes a group and executes its argument in it."""


UUID: Final = "GPU-7672616d-6772-8064-8000-0000000000"
"""What the UUIDs of emulated cards begin with; their number follows."""
DATA_PARALLEL: Final = """
import torch

model = torch.nn.DataParallel(torch.nn.Linear(1024, 1024, bias=False).cuda())
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(torch.randn(64, 1024).cuda()).sum().backward()
optimizer.step()
"""
HALF_KNOWN: Final = """
flag = (torch.rand(4, device="cuda") > 0.5).long() if rank else on_card(1, 0, 1, 1)
dist.all_reduce(flag)
flag.nonzero()
"""
SPOKEN_FOR: Final = """
assert [4] == reduced(dist.ReduceOp.SUM, rank)
objects = [None] * size
dist.all_gather_object(objects, rank)
assert [0, 0, 2, 2] == objects
number = torch.tensor([rank])
dist.all_reduce(number, group=dist.new_group(backend="gloo"))
assert (4, 4) == (number.item(), size)
"""


@pytest.fixture
def scripts(tmp_path: Path) -> None:
    """Write the scripts into the folder of the test."""
    texts = {"fsdp2": FSDP2, "accelerated": ACCELERATED, "parallel": PARALLEL, "values": SMALL_VALUES}
    for name, text in texts.items():
        tmp_path.joinpath(f"{name}.py").write_text(text, encoding="utf-8")


def on(card: str, gpus: int, *more: str) -> tuple[str, ...]:
    """Return the options that put a command on so many cards."""
    return ("--target", card, "--gpus", str(gpus), *more)


def ranks_of(ended: Any) -> dict[int, dict[str, Any]]:
    """Return the reading of each rank."""
    return {int(case["id"].rpartition("[rank-")[2].partition("-")[0]): case["reading"] for case in ended.cases}


def peaks_of(ended: Any) -> dict[int, tuple[int, int]]:
    """Return the allocated and the device peak of each rank, in bytes."""
    return {rank: (reading["peak_allocated_bytes"], reading["peak_device_bytes"]) for rank, reading in ranks_of(ended).items()}


@pytest.mark.long
@pytest.mark.usefixtures("scripts")
def test_fsdp2_of_all_ranks_and_of_two_that_stand_for_them(vramguard: Any) -> None:
    """Every rank has the same peaks, to the byte, in a second run too, and where only the first and the last are run."""
    command = (TORCHRUN, "--nproc-per-node", "8", "fsdp2.py")
    first, second = (vramguard(*command, options=on("a100-80", 8)) for _ in range(2))
    chosen = vramguard(*command, options=on("a100-80", 8, "--ranks", "auto"))

    assert (0, 0, 0) == (first.status, second.status, chosen.status), first.text + second.text + chosen.text
    assert list(range(8)) == list(peaks_of(first))
    assert 1 == len(set(peaks_of(first).values()))
    assert peaks_of(first) == peaks_of(second)
    assert {rank: peaks_of(first)[rank] for rank in (0, 7)} == peaks_of(chosen)
    assert "of 8 ranks only 0, 7 were run: what another one would differ in is not known" in ranks_of(chosen)[0]["notes"]


@pytest.mark.long
@pytest.mark.usefixtures("scripts")
def test_one_of_64_ranks(vramguard: Any) -> None:
    """A single rank holds one 64th of the weights; NCCL's buffers, a ring and a tree, lie outside the allocator."""
    ended = vramguard(TORCHRUN, "--nproc-per-node", "64", "fsdp2.py", options=on("a100-80", 64, "--ranks", "0"))
    (reading,) = ranks_of(ended).values()

    weights_bytes = 2 * (2 * 1024 * 256 + 2 * (256 * (256 + 128 + 128 + 256) + 3 * 256 * 704 + 2 * 256) + 256)
    assert 0 == ended.status, ended.text
    assert weights_bytes // 64 <= reading["parts"]["weights"] <= weights_bytes // 64 + 32 * 512
    assert "NCCL's buffers: 576.0 MiB of the memory outside the allocator, by formula" in reading["notes"]


@pytest.mark.long
@pytest.mark.usefixtures("scripts")
def test_accelerate_launch_on_two_cards(vramguard: Any) -> None:
    """A plain loop under `accelerate launch` runs DDP, and what its ranks gather is what they put in."""
    launch = ("launch", "--num_processes=2", "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no")
    ended = vramguard(ACCELERATE, *launch, "accelerated.py", options=on("l40s", 2))

    assert (0, ["PASS", "PASS"]) == (ended.status, [case["outcome"] for case in ended.cases]), ended.text


@pytest.mark.long
@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize(("ranks", "said"), [("all", "sum 3"), ("0", "sum 2")])
def test_other_kinds_of_parallelism(vramguard: Any, ranks: str, said: str) -> None:
    """Tensor parallel, FSDP1 and a split group run, with a peer and without; an absent rank says what the other says."""
    ended = vramguard(TORCHRUN, "--nproc-per-node", "2", "parallel.py", options=on("h100-80", 2, "--ranks", ranks))

    assert 0 == ended.status, ended.text
    assert said in ended.text


def test_one_process_on_two_cards(vramguard: Any) -> None:
    """A process that uses several cards, as DataParallel does, has a result for each."""
    ended = vramguard(sys.executable, "-c", DATA_PARALLEL, options=on("l40s", 2))
    first, second = ended.cases

    assert 0 == ended.status, ended.text
    assert first["id"].endswith("-cuda-0]")
    assert second["id"].endswith("-cuda-1]")
    assert 4 * 2**20 == first["reading"]["parts"]["weights"]
    assert 0 == second["reading"]["parts"]["weights"]
    assert second["reading"]["peak_allocated_bytes"] > 4 * 2**20


KNOWN: Final = """
assert [1, 10] == reduced(dist.ReduceOp.SUM, rank, 5)
assert [1, 5] == reduced(dist.ReduceOp.MAX, rank, 5)
assert [0, 5] == reduced(dist.ReduceOp.MIN, rank, 5)
assert [0.5] == reduced(dist.ReduceOp.AVG, float(rank))
objects = [None] * size
dist.all_gather_object(objects, "x" * (rank + 1))
assert ["x", "xx"] == objects
told = [rank]
dist.broadcast_object_list(told, src=1)
assert [1] == told
parts = on_card(0, 0)
dist.all_to_all_single(parts, on_card(10 * rank, 10 * rank + 1))
assert [rank, 10 + rank] == parts.tolist()
part = on_card(0)
dist.scatter(part, [on_card(7), on_card(8)] if rank == 0 else None, src=0)
assert [7 + rank] == part.tolist()
gathered = [on_card(0) for _ in range(size)] if rank == 1 else None
dist.gather(on_card(rank + 3), gathered, dst=1)
assert rank == 0 or [3, 4] == [tensor.item() for tensor in gathered]
assert rank + 1 == torch.arange(rank + 1).cuda().nonzero().numel() + 1
"""


@pytest.mark.long
@pytest.mark.usefixtures("scripts")
def test_small_values_of_collectives_are_right(vramguard: Any) -> None:
    """Reductions, gathers, scatters and pickled objects of known values are what NCCL would have brought."""
    ended = vramguard(TORCHRUN, "--nproc-per-node", "2", "values.py", KNOWN, options=on("rtx4090", 2))

    assert (0, ["PASS", "PASS"]) == (ended.status, [case["outcome"] for case in ended.cases]), ended.text


@pytest.mark.long
@pytest.mark.usefixtures("scripts")
def test_a_value_that_one_rank_does_not_know_is_known_to_none(vramguard: Any) -> None:
    """A flag that a kernel computed on one rank leaves the sum unknown: a shape by it is reported, on every rank."""
    ended = vramguard(TORCHRUN, "--nproc-per-node", "2", "values.py", HALF_KNOWN, options=on("rtx4090", 2))

    assert 1 == ended.status
    assert ["UNJUDGED", "UNJUDGED"] == [case["outcome"] for case in ended.cases]
    assert all("data-dependent: nonzero at " in reading["reason"] for reading in ranks_of(ended).values())


@pytest.mark.long
@pytest.mark.usefixtures("scripts")
def test_absent_ranks_say_what_those_that_are_run_say(vramguard: Any) -> None:
    """Rank 2 of 4 speaks for rank 3, rank 0 for rank 1; a group of the host is answered for as well, and it is noted."""
    ended = vramguard(TORCHRUN, "--nproc-per-node", "4", "values.py", SPOKEN_FOR, options=on("rtx4090", 4, "--ranks", "0,2"))
    readings = ranks_of(ended)

    assert (0, [0, 2]) == (ended.status, list(readings)), ended.text
    assert any(note.startswith("ranks that are not run were taken to say what") for note in readings[0]["notes"])


@pytest.mark.long
@pytest.mark.usefixtures("scripts")
def test_the_worst_rank_decides(vramguard: Any) -> None:
    """A rank whose card is full fails the run, whatever the others did."""
    code = "rank and torch.empty(30 * 2**30, dtype=torch.uint8, device='cuda')"
    ended = vramguard(TORCHRUN, "--nproc-per-node", "2", "values.py", code, options=on("rtx4090", 2))

    assert 1 == ended.status
    assert "out_of_memory" == ranks_of(ended)[1]["kind"]


def test_a_rank_that_there_is_not_is_named(vramguard: Any) -> None:
    """A rank that is asked for and never comes is not green."""
    ended = vramguard(sys.executable, "train.py", options=on("rtx4090", 1, "--ranks", "3"))

    assert 1 == ended.status
    assert "rank 3: asked for with --ranks, but no such rank used a card" == ended.cases[-1]["reading"]["reason"]


@pytest.mark.parametrize(
    ("listed", "seen"),
    [
        ("1,0", "01 00"),
        ("2", "02"),
        ("1,0,1", ""),
        ("3,7,1", "03"),
        (f"{UUID}03,{UUID}01", "03 01"),
    ],
)
def test_order_of_visible_cards(vramguard: Any, listed: str, seen: str) -> None:
    """CUDA_VISIBLE_DEVICES chooses cards and their order, up to the first that there is not; a repeated one leaves none."""
    code = (
        "import torch; print(*[str(torch.cuda.get_device_properties(i).uuid)[-2:] for i in range(torch.cuda.device_count())])"
    )
    ended = vramguard(sys.executable, "-c", code, options=on("rtx4090", 4), CUDA_VISIBLE_DEVICES=listed)

    assert ended.text.startswith(f"{seen}\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--gpus", "0"), "got '0', expected a whole number from 1 to 64"),
        (("--gpus", "-1"), "got '-1', expected a whole number from 1 to 64"),
        (("--gpus", "65"), "got '65', expected a whole number from 1 to 64"),
        (("--gpus", "two"), "got 'two', expected a whole number from 1 to 64"),
        (("--ranks", "some"), "got 'some', expected all, auto, or ranks as in 0,3"),
        (("--ranks", "0,,3"), "got '0,,3', expected all, auto, or ranks as in 0,3"),
    ],
)
def test_bad_numbers_of_cards_and_ranks(vramguard: Any, options: tuple[str, ...], message: str) -> None:
    """A wrong number of cards or ranks is a usage error, and nothing is run."""
    ended = vramguard("true", options=("--target", "rtx3060", *options))

    assert 4 == ended.status
    assert message in ended.text
    assert [] == ended.cases
