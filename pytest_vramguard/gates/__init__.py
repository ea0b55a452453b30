"""Gates: each turns a reading into a verdict."""

from pytest_vramguard.gates.band import BandGate, advise
from pytest_vramguard.gates.base import Gate
from pytest_vramguard.gates.fit import FitGate

__all__ = ["BandGate", "FitGate", "Gate", "advise"]
