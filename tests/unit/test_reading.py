"""What a reading derives from its numbers."""

from __future__ import annotations

from pytest_vramguard.reading import Parts
from tests import samples


def test_parts_sum_up() -> None:
    """The total of the parts counts each of them once."""
    parts = Parts(weights_bytes=1, gradients_bytes=20, optimizer_bytes=300, activations_bytes=4_000, other_bytes=50_000)

    assert 54_321 == parts.total_bytes


def test_device_peak_of_a_measurement() -> None:
    """The device peak is what the allocator held and what lies outside it."""
    assert 1_200 == samples.measurement(peak_reserved_bytes=1_000, context_bytes=200).peak_device_bytes


def test_device_peak_of_an_out_of_memory() -> None:
    """The device peak of a case that ran out of memory is reckoned like that of any other."""
    assert 1_200 == samples.out_of_memory(peak_reserved_bytes=1_000, context_bytes=200).peak_device_bytes
