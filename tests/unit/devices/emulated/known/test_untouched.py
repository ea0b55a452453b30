"""Large zeros of the host are converted without memory, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pytest_vramguard.devices.emulated.known.untouched import LARGE_BYTES, converted

if TYPE_CHECKING:
    from torch import Tensor

HALF_NUMBERS = LARGE_BYTES
"""Numbers of 16 bits in a tensor that is large in 16 and in 32 bits."""
HEADER_BYTES = 152
TO_FLOAT = {"dtype": torch.float32}


def mapped(path: Path, written: bytes = b"", at: int = 0) -> Tensor:
    """Return half-precision numbers behind a header in a file that is a hole but for `written`."""
    with path.open("wb") as file:
        file.truncate(HEADER_BYTES + 2 * HALF_NUMBERS)
        file.write(b"x" * HEADER_BYTES)
        file.seek(HEADER_BYTES + at)
        file.write(written)
    memory = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
    return memory[HEADER_BYTES:].view(torch.bfloat16)


def used_bytes() -> int:
    """Return the memory of this process that no file backs."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


def test_a_hole_of_a_file_becomes_memory_that_nobody_touched(tmp_path: Path) -> None:
    """It takes no memory in another type, nor in a third one, and is zero."""
    weights = mapped(tmp_path / "weights")
    before = used_bytes()
    wide = converted(weights, TO_FLOAT)

    assert wide is not None
    assert (wide.shape, wide.dtype) == (weights.shape, torch.float32)
    assert converted(wide, {"dtype": torch.float16}) is not None
    assert used_bytes() - before < LARGE_BYTES // 8
    assert 0 == wide.count_nonzero()


def test_what_somebody_wrote_is_converted_for_real(tmp_path: Path) -> None:
    """One number at the beginning, in the middle or at the end is enough."""
    for number, place in enumerate((0, HALF_NUMBERS, 2 * HALF_NUMBERS - 2)):
        assert converted(mapped(tmp_path / f"weights-{number}", b"\1\1", place), TO_FLOAT) is None
    for place in (0, HALF_NUMBERS // 2, HALF_NUMBERS - 1):
        numbers = torch.empty(HALF_NUMBERS, dtype=torch.bfloat16)
        numbers[place] = 1

        assert converted(numbers, TO_FLOAT) is None


def test_what_was_written_to_the_memory_alone_is_seen(tmp_path: Path) -> None:
    """A private mapping keeps what is written to it from its file, which stays a hole."""
    weights = mapped(tmp_path / "weights")
    weights[HALF_NUMBERS // 2] = 1

    assert converted(weights, TO_FLOAT) is None


def test_a_page_that_was_only_read_stays_empty(tmp_path: Path) -> None:
    """Reading brings zeros of the file into memory, and changes nothing."""
    weights = mapped(tmp_path / "weights")

    assert 0 == weights.count_nonzero()
    assert converted(weights, TO_FLOAT) is not None


def test_another_file_in_the_place_of_the_mapped_one_says_nothing(tmp_path: Path) -> None:
    """What is mapped is the former file, whose data nobody can look up any more."""
    weights = mapped(tmp_path / "weights", b"\1\1", HALF_NUMBERS)
    mapped(tmp_path / "other")
    (tmp_path / "other").replace(tmp_path / "weights")

    assert converted(weights, TO_FLOAT) is None


def test_other_copies_are_left_alone(tmp_path: Path) -> None:
    """A small tensor, one with gaps, and copies to the card, to pinned memory and into another order."""
    weights = mapped(tmp_path / "weights")

    assert converted(weights[: HALF_NUMBERS // 8], TO_FLOAT) is None
    assert converted(weights.view(2, -1).t(), TO_FLOAT) is None
    for keywords in ({"device": torch.device("cuda", 0)}, {"pin_memory": True}, {"memory_format": torch.channels_last}):
        assert converted(weights, {**TO_FLOAT, **keywords}) is None
