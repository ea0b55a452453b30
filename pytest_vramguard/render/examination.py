"""What `vramguard doctor` found, as text for people and JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from pytest_vramguard.units import gib_text

if TYPE_CHECKING:
    from pytest_vramguard.examination import Examination, Trial

SCHEMA: Final = 1
"""Version of the JSON form. 1: the first."""


def render(found: Examination) -> str:
    """Return a line for each thing that was found, and the device that would be used with the reason."""
    cards = ", ".join(f"{card.name} ({gib_text(card.total_bytes)})" for card in found.real_cards)
    lines = {
        "system": f"{found.system}, Python {found.python}",
        "torch": _torch(found),
        **dict(found.packages),
        "driver": found.driver or "none",
        "real cards": cards or "none",
        "cuda": _trial(found.cuda_trial),
        "emulation": _trial(found.emulation),
        "device": _device(found),
    }
    width = max(map(len, lines))
    return "".join(f"{name.ljust(width)}  {text}\n" for name, text in lines.items())


def render_json(found: Examination) -> str:
    """Return every field as one JSON document: ASCII, a newline at the end."""
    table = {"schema": SCHEMA, **asdict(found), "packages": dict(found.packages)}
    return json.dumps({**table, "device": found.device, "usable": found.usable}, indent=2) + "\n"


def _torch(found: Examination) -> str:
    if found.torch is None:
        return "not installed"
    return f"{found.torch}, built {f'for CUDA {found.cuda}' if found.cuda else 'without CUDA'}"


def _trial(trial: Trial | None) -> str:
    if trial is None:
        return "not tried, there is no real card"
    return f"{'works' if trial.works else 'does not work'}: {trial.account}"


def _device(found: Examination) -> str:
    """Return what `auto` takes and why; and what works instead, if that does not."""
    if found.device is not None:
        return f"{found.device}, {'since there is a real card' if found.device == 'cuda' else 'since there is no real card'}"
    if found.emulation.works:
        return "none of its own accord: the real card does not work; use --vram-device emulated"
    return "none; mend what is said above"
