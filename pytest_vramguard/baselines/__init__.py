"""Baselines as files that are meant to be committed: one for each case, target and kind of device."""

from pytest_vramguard.baselines.accept import accept
from pytest_vramguard.baselines.store import BaselineStore

__all__ = ["BaselineStore", "accept"]
