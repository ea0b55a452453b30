"""Gates: each turns a reading into a verdict."""

from pytest_vramguard.gates.band import BandGate, advise
from pytest_vramguard.gates.base import Gate
from pytest_vramguard.gates.creep import STEADY_STEPS, CreepGate
from pytest_vramguard.gates.fit import FitGate
from pytest_vramguard.gates.growth import GrowthGate, NoBaseline, ShrinkGate
from pytest_vramguard.gates.longest import LongestGate
from pytest_vramguard.gates.phase import PhaseGate
from pytest_vramguard.gates.slowdown import PairedRuns, SlowdownGate
from pytest_vramguard.gates.work import WorkGate, WorkGrowthGate

__all__ = [
    "STEADY_STEPS",
    "BandGate",
    "CreepGate",
    "FitGate",
    "Gate",
    "GrowthGate",
    "LongestGate",
    "NoBaseline",
    "PairedRuns",
    "PhaseGate",
    "ShrinkGate",
    "SlowdownGate",
    "WorkGate",
    "WorkGrowthGate",
    "advise",
]
