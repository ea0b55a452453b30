"""What a run and a case are asked to do, resolved once from every place that can ask.

Precedence: command line, then the marker of the test, then pytest's ini options, then `[tool.vramguard]`, then the default.
"""

from pytest_vramguard.settings.keys import (
    COMMAND_KEYS,
    DEVICE_CHOICES,
    LIMIT_KEYS,
    MARKER_KEYS,
    PROJECT_KEYS,
    WORK_KEYS,
    DeviceChoice,
)
from pytest_vramguard.settings.settings import BASELINES_FOLDER, JOB_SPREAD, Settings, limits_of, resolve
from pytest_vramguard.settings.wishes import (
    Wishes,
    split_targets,
    wishes_of_ini,
    wishes_of_mapping,
    wishes_of_marker,
    wishes_of_project,
)

__all__ = [
    "BASELINES_FOLDER",
    "COMMAND_KEYS",
    "DEVICE_CHOICES",
    "JOB_SPREAD",
    "LIMIT_KEYS",
    "MARKER_KEYS",
    "PROJECT_KEYS",
    "WORK_KEYS",
    "DeviceChoice",
    "Settings",
    "Wishes",
    "limits_of",
    "resolve",
    "split_targets",
    "wishes_of_ini",
    "wishes_of_mapping",
    "wishes_of_marker",
    "wishes_of_project",
]
