"""The card catalogue as a table and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

from pytest_vramguard.render.cards import render, render_json
from tests import samples

TABLE = """\
key          name                     size  usable  context   sm  SMs  bandwidth  bf16
rtx3060      NVIDIA GeForce RTX 3060    12   12.00     0.25  8.6   28        360    51
turing-like  NVIDIA T                    8    7.50     0.25  7.5  100         36     -

size, usable, context: GiB on the box, GiB that CUDA reports on a current Linux driver, GiB that a process holds of it outside
  PyTorch's allocator
sm: compute capability; SMs: streaming multiprocessors; bandwidth: published peak of the memory, in 10**9 bytes/s
bf16: published dense rate with fp32 accumulation, in 10**12 operations/s; -: the card has no bf16 tensor cores
Where each number comes from: vramguard cards --json
"""
TURING = samples.card(
    key="turing-like",
    name="NVIDIA T",
    nominal_gib=8,
    usable_bytes=15 * 2**29,
    compute_capability=(7, 5),
    sm_count=100,
    memory_bandwidth_bytes_per_second=36e9,
    dense_flops_per_second={"fp16": 65e12},
)


def test_table_has_a_row_a_card_and_a_legend() -> None:
    """Texts stand to the left and numbers to the right; a rate that the card lacks is a dash."""
    assert TABLE == render([samples.card(), TURING])


def test_table_without_cards_has_its_heads() -> None:
    """No card gives the row of heads alone, above the legend."""
    assert ["key  name  size  usable  context  sm  SMs  bandwidth  bf16", ""] == render([]).splitlines()[:2]


def test_json_has_every_field_of_a_card() -> None:
    """The JSON form carries exact bytes, the rates by dtype and the sources, under a version."""
    card = samples.card(dense_flops_per_second={"fp16": 65e12}, aliases=("3060",))

    document = json.loads(render_json([card]))

    assert {"schema": 1, "cards": [{**asdict(card), "compute_capability": [8, 6], "aliases": ["3060"]}]} == document


def test_json_is_ascii_and_ends_with_a_newline() -> None:
    """A name with other characters is escaped, so that the document passes through every pipe."""
    text = render_json([samples.card(name="Carte à mémoire")])

    assert text.isascii()
    assert text.endswith("}\n")
