"""The names of what can be asked for, by the place that can ask."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

DeviceChoice: TypeAlias = Literal["auto", "cuda", "emulated"]
DEVICE_CHOICES: Final = ("auto", "cuda", "emulated")
WORK_KEYS: Final = (
    "max_syncs",
    "max_driver_allocations",
    "max_launches_growth",
    "max_syncs_growth",
    "max_copied_growth",
    "max_flops_growth",
)
"""Limits of what a step asks of an emulated card."""
MARKER_KEYS: Final = (
    "max_gb",
    "band",
    "phases",
    "min_seq_len",
    "min_batch_size",
    "max_growth",
    "max_shrink",
    "max_creep",
    "max_slowdown",
    *WORK_KEYS,
    "target",
    "steps",
    "warmup",
)
"""Arguments of the marker `vram`."""
LIMIT_KEYS: Final = ("max_growth", "max_shrink", "max_slowdown")
"""Those that say how far a case may be from what it was."""
NUMBER_KEYS: Final = ("steps", "warmup", "max_syncs", "max_driver_allocations")
"""Keys whose values are numbers, which the ini file and the command line write as text."""
SWITCH_KEYS: Final = ("require_baseline",)
"""Keys whose values are true or false, which the ini file writes as text."""
PROJECT_KEYS: Final = (
    *MARKER_KEYS,
    "device",
    "json",
    "cards",
    "baselines",
    "require_baseline",
    "job_spread",
    "artifacts",
)
"""Keys of `[tool.vramguard]`; those of them that are text, numbers or switches are ini options too, `vram_` and the key."""
COMMAND_KEYS: Final = (*PROJECT_KEYS, "accept")
"""Keys of the command line. Baselines are accepted there alone: a file that says so would do it at every run."""
