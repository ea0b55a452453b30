"""The tree of errors that a user can cause and can mend.

A gate that fails is not an error: it is a `Verdict`. An error says *place: found, expected; next step*, in lower case and
without a full stop, and ends a run with `exit_code`.
"""

from __future__ import annotations

from typing import ClassVar


class VramguardError(Exception):
    """The root: something outside this package must be changed before a case can be judged."""

    exit_code: ClassVar[int] = 4
    """Exit status of the process; 4 is pytest's own status for a usage error."""
    slug: ClassVar[str] = "vramguard"
    """Heading under which the README says how to mend it."""


class SettingsError(VramguardError):
    """An option, marker argument or key of `[tool.vramguard]` is unknown or has a wrong value."""

    slug = "settings"


class CatalogueError(VramguardError):
    """A card or model is unknown, or a catalogue file is malformed."""

    slug = "catalogue"


class RecipeError(VramguardError):
    """A recipe, or the data that it names, is missing or malformed."""

    slug = "recipe"


class DeviceUnavailable(VramguardError):
    """The device cannot be had here: no real card, no CUDA build of torch, not Linux x86-64, torch loaded too early."""

    slug = "device"


class BaselineError(VramguardError):
    """A baseline is malformed, newer than this version can read, of another case, or cannot be written."""

    slug = "baseline"


class ComparisonError(VramguardError):
    """Two commits cannot be compared: no repository, a dirty one, no such commit, no case in common, a run that broke off."""

    slug = "comparison"
