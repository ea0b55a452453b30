"""What a reading derives from its numbers."""

from __future__ import annotations

import pytest

from pytest_vramguard.reading import Parts, Site
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


@pytest.mark.parametrize(
    ("site", "text"),
    [
        (Site(line="a.py:1 in f", code="x = g(y)", library="lib/g.py:2 in g"), "a.py:1 in f: x = g(y) (lib/g.py:2 in g)"),
        (Site(line="a.py:1 in f"), "a.py:1 in f"),
        (Site(library="lib/g.py:2 in g"), "lib/g.py:2 in g"),
        (Site(line="a.py:1 in f", code="x" * 60), f"a.py:1 in f: {'x' * 60}"),
        (Site(line="a.py:1 in f", code="x" * 61), f"a.py:1 in f: {'x' * 60}..."),
        (Site(module="lm_head"), "the backward pass of lm_head"),
        (Site(), "a backward pass outside of modules"),
    ],
)
def test_what_a_reader_is_told_of_a_site(site: Site, text: str) -> None:
    """A site is told with what is known of it, and a long line of code is cut."""
    assert text == site.text


def test_fragmentation_is_what_is_reserved_beyond() -> None:
    """What the allocator reserved beyond what was allocated, each at its peak."""
    assert 7 == samples.measurement(peak_reserved_bytes=12, peak_allocated_bytes=5).fragmentation_bytes
