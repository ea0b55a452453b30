"""Placing a card: what text is understood, what is refused, and what the libraries say of it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from pytest_vramguard.cards import Card, load_catalogue
from pytest_vramguard.devices.emulated import libraries
from tests.contract.native.libraries import SUCCESS, TOTAL_BYTES, Libraries, card_text

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT_ECC: Final = card_text().replace("ecc=0;", "")
FAULTS: Final = {
    "": "missing key name",
    "name=X;": "missing key total_bytes",
    WITHOUT_ECC: "missing key ecc",
    card_text() + "colour=green;": "unknown key colour",
    card_text() + "colour": "unknown key colour",
    card_text() + ";": "unknown key ",
    "total_byte=1;": "unknown key total_byte",
    "Name=X;": "unknown key Name",
    card_text() + "ecc=1;": "repeated key ecc",
    card_text().removesuffix(";"): "unended value of driver_name",
    "name=X": "unended value of name",
    card_text(name=""): "bad value of name",
    card_text(name="x" * 128): "bad value of name",
    card_text(name="x" * 1000): "bad value of name",
    card_text(driver_name="1" * 32): "bad value of driver_name",
    card_text(total_bytes=-1): "bad value of total_bytes",
    card_text(total_bytes=""): "bad value of total_bytes",
    card_text(total_bytes="12 GiB"): "bad value of total_bytes",
    card_text(total_bytes="1e9"): "bad value of total_bytes",
    card_text(total_bytes=" 1"): "bad value of total_bytes",
    card_text(total_bytes=2**64): "bad value of total_bytes",
    card_text(total_bytes="9" * 300): "bad value of total_bytes",
    card_text(sm_count=2**31): "bad value of sm_count",
    card_text(sm_count="+1"): "bad value of sm_count",
    card_text(total_bytes=2**40 + 1): "more than 1 TiB asked for by total_bytes",
    card_text(total_bytes=2**64 - 1, context_bytes=2**64 - 1): "more than 1 TiB asked for by total_bytes",
    card_text(total_bytes=100, context_bytes=101): "larger than the card: context_bytes",
    card_text(count=65): "more than 64 cards asked for by count",
}
"""Texts that describe no card, and what is said of them."""


def preloaded(folder: Path, text: str | None, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command that gets the libraries through LD_PRELOAD, and the card and `variables` through the environment."""
    sonames = (libraries.CORE, *libraries.SONAMES)
    preload = [part for part in (os.environ.get("LD_PRELOAD"), *(str(folder / soname) for soname in sonames)) if part]
    card = {} if text is None else {"VRAMGUARD_CARD": text}
    inherited = {name: value for name, value in os.environ.items() if name != "VRAMGUARD_CARD"}  # this process may have a card
    env = {**inherited, "LD_PRELOAD": ":".join(preload), **card, **variables}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


def cuda_programme(body: str) -> tuple[str, ...]:
    """Return a command that runs Python with the runtime found by name, as a program that was linked with it would."""
    return sys.executable, "-c", f"import ctypes\nrt = ctypes.CDLL('libcudart.so.13')\nn = ctypes.c_int(-1)\n{body}"


UUID: Final = "GPU-7672616d-6772-8064-8000-0000000000"
"""What the UUIDs of emulated cards begin with; their number follows."""


class TestText:
    """vg_place."""

    @pytest.mark.parametrize("text", FAULTS)
    def test_a_faulty_text_is_named_and_changes_nothing(self, cards: Libraries, text: str) -> None:
        """The message says what is wrong with which key; the card in place stays."""
        assert f"VRAMGUARD_CARD: {FAULTS[text]}" == cards.place(text)
        assert (SUCCESS, TOTAL_BYTES) == cards.memory_info()[::2]

    @pytest.mark.parametrize(
        "fields",
        [
            {"name": "x" * 127},
            {"name": "A=B, with spaces"},
            {"driver_name": "1" * 31},
            {"total_bytes": 100, "context_bytes": 100},
            {"total_bytes": 0, "context_bytes": 0},
            {"total_bytes": 2**40},
            {"count": 64},
            {"sm_count": 2**31 - 1},
        ],
    )
    def test_values_at_their_limits_are_taken(self, cards: Libraries, fields: dict[str, object]) -> None:
        """The largest and the smallest values that are allowed are allowed."""
        assert cards.place(card_text(**fields)) is None

    def test_a_card_that_is_all_context_has_no_byte_left(self, cards: Libraries) -> None:
        """A card whose context fills it refuses the first byte, and says that nothing is free."""
        cards.place(card_text(total_bytes=2**21, context_bytes=2**21))

        assert (SUCCESS, 0, 2**21) == cards.memory_info()
        assert (2, 0) == cards.allocate("cudaMalloc", 1)

    def test_the_largest_card_can_be_filled(self, cards: Libraries) -> None:
        """A region of 1 TiB costs neither memory nor time."""
        cards.place(card_text(total_bytes=2**40, context_bytes=0))

        assert SUCCESS == cards.allocate("cudaMalloc", 2**40)[0]
        assert (SUCCESS, 0, 2**40) == cards.memory_info()


class TestChange:
    """Another card in place of the former one."""

    @pytest.mark.parametrize("device", [0, 1])
    def test_no_card_is_changed_while_memory_is_allocated(self, cards: Libraries, device: int) -> None:
        """One region on either card is enough to refuse; once it is freed, the change is made."""
        cards.call("cudaSetDevice", device)
        _, address = cards.allocate("cudaMalloc", 1)

        refused = cards.place(card_text(total_bytes=2**30))
        total_bytes = cards.memory_info()[2]
        cards.call("cudaFree", address)

        assert "VRAMGUARD_CARD: device memory is still allocated; not changed: card" == refused
        assert TOTAL_BYTES == total_bytes
        assert cards.place(card_text(total_bytes=2**30)) is None
        assert 2**30 == cards.memory_info()[2]

    def test_a_device_that_is_gone_is_no_longer_current(self, cards: Libraries) -> None:
        """With fewer cards than before, a thread whose device is gone is on the first."""
        cards.call("cudaSetDevice", 1)
        cards.place(card_text(count=1))
        device = ctypes.c_int(-1)

        assert [SUCCESS, 0] == [cards.runtime.cudaGetDevice(ctypes.byref(device)), device.value]
        assert SUCCESS == cards.allocate("cudaMalloc", 1)[0]

    @pytest.mark.parametrize("card", load_catalogue().cards, ids=lambda card: card.key)
    def test_every_card_of_the_catalogue_can_be_placed(self, cards: Libraries, card: Card) -> None:
        """Name, sizes and compute capability arrive as the catalogue has them, and the card can be filled."""
        assert cards.place(libraries.card_text(card)) is None
        name, capability = ctypes.create_string_buffer(200), (ctypes.c_int(), ctypes.c_int())
        cards.driver.cuDeviceGetName(name, 200, 0)
        for number, value in zip((75, 76), capability, strict=True):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
            cards.driver.cuDeviceGetAttribute(ctypes.byref(value), number, 0)
        free_bytes = card.usable_bytes - card.context_bytes

        assert (card.name, card.compute_capability) == (name.value.decode(), tuple(value.value for value in capability))
        assert (SUCCESS, free_bytes, card.usable_bytes) == cards.memory_info()
        assert SUCCESS == cards.allocate("cudaMalloc", free_bytes // 2**21 * 2**21)[0]


class TestEnvironment:
    """A program that is started with the libraries in LD_PRELOAD finds its card in VRAMGUARD_CARD."""

    @pytest.mark.parametrize("text", FAULTS)
    def test_a_faulty_text_ends_the_program(self, folder: Path, text: str) -> None:
        """Before the program does anything it exits with 4 and one line that names the fault."""
        done = preloaded(folder, text, "echo", "started")

        assert (4, "", f"vramguard: VRAMGUARD_CARD: {FAULTS[text]}\n") == (done.returncode, done.stdout, done.stderr)

    def test_the_card_is_there_from_the_start(self, folder: Path) -> None:
        """The program sees the cards of the variable."""
        done = preloaded(folder, card_text(count=3), *cuda_programme("print(rt.cudaGetDeviceCount(ctypes.byref(n)), n.value)"))

        assert (0, "0 3\n", "") == (done.returncode, done.stdout, done.stderr)

    def test_without_the_variable_there_is_no_card(self, folder: Path) -> None:
        """A program that gets the libraries alone sees no device."""
        done = preloaded(folder, None, *cuda_programme("print(rt.cudaGetDeviceCount(ctypes.byref(n)), n.value)"))

        assert (0, "100 0\n", "") == (done.returncode, done.stdout, done.stderr)

    @pytest.mark.parametrize(
        ("listed", "visible"),
        [
            *(("", 0), ("0", 1), ("2,0", 2), ("0,1,2", 3), ("0,3,1", 1), ("-1,0", 0), ("none", 0), ("1,", 1)),
            *((f"{UUID}02,{UUID}00", 2), (f"{UUID}02,1", 1), (f"0,{UUID}02", 1), (f"{UUID}01,{UUID}01", 0), (f"{UUID}03", 0)),
            *((UUID, 0), ("GPU-", 0), (f"MIG-{UUID}00/0/0", 0)),
        ],
    )
    def test_cuda_sees_the_cards_that_it_is_left(self, folder: Path, listed: str, visible: int) -> None:
        """CUDA_VISIBLE_DEVICES hides cards from runtime and driver, up to the first that there is not; NVML sees all.

        A UUID may be cut short as long as one card alone is meant. No emulated card has a MIG instance.
        """
        code = (
            "import ctypes; n = ctypes.c_int(-1); counts = []\n"
            "for library, function in (('cudart.so.13', 'cudaGetDeviceCount'), ('cuda.so.1', 'cuDeviceGetCount'),\n"
            "                          ('nvidia-ml.so.1', 'nvmlDeviceGetCount_v2')):\n"
            "    getattr(ctypes.CDLL('lib' + library), function)(ctypes.byref(n)); counts.append(n.value)\n"
            "print(counts)"
        )
        done = preloaded(folder, card_text(count=3), sys.executable, "-c", code, CUDA_VISIBLE_DEVICES=listed)

        assert (0, f"[{visible}, {visible}, 3]\n", "") == (done.returncode, done.stdout, done.stderr)
