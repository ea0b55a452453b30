"""An emulated card as the device of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_vramguard.devices.emulated.libraries import DRIVER_NAME
from pytest_vramguard.devices.stack import installed_versions
from pytest_vramguard.report import DeviceFacts

if TYPE_CHECKING:
    from pytest_vramguard.cards import Card


def facts_of(card: Card) -> DeviceFacts:
    """Describe `card` as code sees it, with the versions that are installed here."""
    major, minor = card.compute_capability
    return DeviceFacts(
        kind="emulated",
        name=card.name,
        usable_bytes=card.usable_bytes,
        compute_capability=f"{major}.{minor}",
        driver=DRIVER_NAME,
        versions=installed_versions(),
    )
