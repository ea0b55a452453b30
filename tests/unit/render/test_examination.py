"""What `vramguard doctor` found, as text and as JSON."""

from __future__ import annotations

import json

from pytest_vramguard.examination import RealCard, Trial
from pytest_vramguard.render.examination import render, render_json
from pytest_vramguard.units import GIB
from tests import samples

TEXT = """\
system        Linux x86_64, Python 3.11.7
torch         2.14.1+cu130, built for CUDA 13.0
transformers  5.23.0
driver        none
real cards    none
cuda          not tried, there is no real card
emulation     works: a training step took 36.3 MiB
device        emulated, since there is no real card
"""
FAILED = Trial(works=False, account="torch: not installed, expected a CUDA build")
REAL = RealCard(name="NVIDIA T", total_bytes=16 * GIB)


def test_each_finding_is_a_line() -> None:
    """The text aligns names and findings."""
    assert TEXT == render(samples.examination())


def test_what_does_not_work_says_why() -> None:
    """Without torch there is no device, and the account has the next step."""
    lines = render(samples.examination(torch=None, cuda=None, packages=(), emulation=FAILED)).splitlines()

    assert "torch       not installed" in lines
    assert "emulation   does not work: torch: not installed, expected a CUDA build" in lines
    assert "device      none; mend what is said above" == lines[-1]


def test_a_build_without_cuda_is_named() -> None:
    """A torch for the CPU is told from one for CUDA."""
    assert "torch         2.9.0+cpu, built without CUDA\n" in render(samples.examination(torch="2.9.0+cpu", cuda=None))


def test_a_real_card_is_named_with_its_size() -> None:
    """It is the device, if it works."""
    works = samples.examination(driver="580.65.06", real_cards=(REAL,), cuda_trial=Trial(works=True, account="a step"))
    lines = render(works).splitlines()

    assert "driver        580.65.06" in lines
    assert "real cards    NVIDIA T (16.00 GiB)" in lines
    assert "device        cuda, since there is a real card" == lines[-1]


def test_a_real_card_that_fails_leaves_the_choice() -> None:
    """The emulated card is not taken silently in its place."""
    fails = samples.examination(real_cards=(REAL,), cuda_trial=FAILED)

    expected = "device        none of its own accord: the real card does not work; use --vram-device emulated"
    assert expected == render(fails).splitlines()[-1]


def test_json_has_every_finding() -> None:
    """The form for programs has a version, and says what follows from the findings."""
    found = json.loads(render_json(samples.examination(real_cards=(REAL,), cuda_trial=FAILED)))

    assert found == {
        "schema": 1,
        "system": "Linux x86_64",
        "python": "3.11.7",
        "torch": "2.14.1+cu130",
        "cuda": "13.0",
        "packages": {"transformers": "5.23.0"},
        "driver": None,
        "real_cards": [{"name": "NVIDIA T", "total_bytes": 16 * GIB}],
        "cuda_trial": {"works": False, "account": "torch: not installed, expected a CUDA build"},
        "emulation": {"works": True, "account": "a training step took 36.3 MiB"},
        "device": None,
        "usable": True,
    }
