"""Files with holes hold what safetensors would have written, and take less room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch

from pytest_vramguard.recipes.sparse_files import sparse_files

if TYPE_CHECKING:
    from pathlib import Path

MIB = 2**20


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Types of every width, a scalar, an empty tensor, ones among zeros and the metadata come back as they went in."""
    mixed = torch.zeros(3 * MIB + 5, dtype=torch.int8)
    mixed[MIB + 7] = mixed[-1] = 3
    tensors = {
        "mixed": mixed,
        "flags": torch.tensor([True, False, True]),
        "wide": torch.randn(3, 5),
        "half": torch.randn(7).bfloat16(),
        "quarter": torch.ones(3).to(torch.float8_e4m3fn),
        "scalar": torch.tensor(4, dtype=torch.int64),
        "empty": torch.empty(0, 4),
    }
    with sparse_files():
        safetensors.torch.save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "pt"})

    read = safetensors.torch.load_file(tmp_path / "a.safetensors")
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
        metadata = file.metadata()

    assert {"format": "pt"} == metadata
    assert set(tensors) == set(read)
    assert all(torch.equal(tensors[name].float(), read[name].float()) for name in tensors)
    assert [tensor.dtype for tensor in tensors.values()] == [read[name].dtype for name in tensors]


def test_zeros_take_no_room(tmp_path: Path) -> None:
    """A file of zeros has its full size and almost no blocks on the disk."""
    with sparse_files():
        safetensors.torch.save_file({"weights": torch.zeros(64 * MIB, dtype=torch.uint8)}, tmp_path / "a.safetensors")
    stat = (tmp_path / "a.safetensors").stat()

    assert stat.st_size > 64 * MIB
    assert stat.st_blocks * 512 < MIB


def test_earlier_releases_hand_over_copies(tmp_path: Path) -> None:
    """Before safetensors 0.8 the writer got the bytes themselves, and torch's names of the types."""
    numbers = torch.arange(5, dtype=torch.bfloat16)
    content = bytes(numbers.view(torch.uint8).tolist())
    with sparse_files():
        write: Any = vars(safetensors.torch)["serialize_file"]
        write({"numbers": {"dtype": "bfloat16", "shape": [5], "data": content}}, tmp_path / "a.safetensors", metadata=None)

    assert torch.equal(numbers, safetensors.torch.load_file(tmp_path / "a.safetensors")["numbers"])


def test_the_writer_is_put_back(tmp_path: Path) -> None:
    """Outside of the block files are written as always."""
    with sparse_files():
        pass
    safetensors.torch.save_file({"weights": torch.zeros(64 * MIB, dtype=torch.uint8)}, tmp_path / "a.safetensors")

    assert (tmp_path / "a.safetensors").stat().st_blocks * 512 >= 64 * MIB
