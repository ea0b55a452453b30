"""The meter: peaks, phases, steps and parts of one case. Imports torch, so it is imported only when a case begins."""
