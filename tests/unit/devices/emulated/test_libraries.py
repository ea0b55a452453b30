"""Tests of the text that places a card. That the libraries understand it is shown in `tests/contract/native/test_place.py`."""

from __future__ import annotations

from pytest_vramguard.devices.emulated.libraries import card_text
from pytest_vramguard.units import GIB, KIB, MIB
from tests import samples

TEXT = (
    f"name=NVIDIA GeForce RTX 3060;total_bytes={12 * GIB};context_bytes={256 * MIB};count=1;major=8;minor=6;sm_count=28;"
    f"l2_bytes={2304 * KIB};shared_memory_per_sm_bytes={100 * KIB};shared_memory_per_block_optin_bytes={99 * KIB};"
    "max_threads_per_sm=1536;max_blocks_per_sm=16;memory_bus_bits=192;boost_clock_khz=1777000;memory_clock_khz=7501000;"
    "ecc=0;peer_access=0;nccl_channels=0;driver_version=13000;driver_name=580.65.06;"
)


class TestCardText:
    """card_text."""

    def test_every_fact_is_a_pair(self) -> None:
        """A card is its facts as `key=value;`, sizes in bytes and clocks in kHz."""
        assert TEXT == card_text(samples.card())

    def test_the_number_of_cards_is_asked_for(self) -> None:
        """Several equal cards differ from one by their count alone."""
        assert TEXT.replace("count=1;", "count=4;") == card_text(samples.card(), count=4)

    def test_error_correction_is_a_number(self) -> None:
        """A card whose bytes were read with error correction says 1."""
        assert TEXT.replace("ecc=0;", "ecc=1;") == card_text(samples.card(ecc=True))

    def test_clocks_are_cut_to_whole_khz(self) -> None:
        """What is less than a kHz is left out."""
        expected = TEXT.replace("boost_clock_khz=1777000;", "boost_clock_khz=1777;")
        assert expected == card_text(samples.card(boost_clock_hz=1_777_999))
