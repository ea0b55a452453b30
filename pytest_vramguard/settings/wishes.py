"""What one place asks for: a marker, the ini file, the table of a project, or a command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

from pytest_vramguard.allowance import (
    PhaseLimit,
    parse_allowance,
    parse_allowances,
    parse_count_allowance,
    parse_limit,
    parse_share,
    parse_size,
)
from pytest_vramguard.errors import SettingsError
from pytest_vramguard.settings.keys import DEVICE_CHOICES, MARKER_KEYS, NUMBER_KEYS, PROJECT_KEYS, SWITCH_KEYS
from pytest_vramguard.tables import checking, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pytest_vramguard.allowance import Allowance, PeakAllowance
    from pytest_vramguard.settings.keys import DeviceChoice
    from pytest_vramguard.tables import Table

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What one place asks for; None means that it does not say."""

    targets: tuple[str, ...] | None = None
    device: DeviceChoice | None = None
    json_path: Path | None = None
    steps: int | None = None
    warmup: int | None = None
    max_gb: float | None = None
    band: tuple[float, float] | None = None
    phases: tuple[PhaseLimit, ...] | None = None
    min_seq_len: int | None = None
    min_batch_size: int | None = None
    cards: tuple[Path, ...] | None = None
    max_growth: tuple[PeakAllowance, ...] | None = None
    max_shrink: tuple[PeakAllowance, ...] | None = None
    max_creep_bytes: int | None = None
    max_syncs: int | None = None
    max_driver_allocations: int | None = None
    max_launches_growth: Allowance | None = None
    max_syncs_growth: Allowance | None = None
    max_copied_growth: Allowance | None = None
    max_flops_growth: Allowance | None = None
    max_slowdown: float | None = None
    job_spread: float | None = None
    baselines: Path | None = None
    require_baseline: bool | None = None
    accept: bool | None = None
    artifacts: Path | None = None


def wishes_of_mapping(mapping: Mapping[str, object], source: str, known: tuple[str, ...], root: Path) -> Wishes:
    """Return the wishes in `mapping`, whose keys must be among `known`; `root` is where relative paths begin.

    Raises:
        SettingsError: an unknown key or a wrong value, located in `source`; all of them together.
    """
    with checking(mapping, source, SettingsError) as table:
        return _wishes(table, known, root)


def wishes_of_ini(texts: Mapping[str, str | None], root: Path) -> Wishes:
    """Return the wishes in pytest's ini options `vram_` and the keys of `texts`; an empty text says nothing.

    Raises:
        SettingsError: as `wishes_of_mapping`.
    """
    said = {key: _ini_value(key, text) for key, text in texts.items() if text}
    return wishes_of_mapping(said, "ini: vram", PROJECT_KEYS, root)


def _ini_value(key: str, text: str) -> object:
    """Return what a text of the ini file means, or the text itself where that is refused later."""
    if key in NUMBER_KEYS and text.isdigit():
        return int(text)
    return {"true": True, "false": False}.get(text.lower(), text) if key in SWITCH_KEYS else text


def wishes_of_marker(arguments: Sequence[object], keywords: Mapping[str, object], root: Path) -> Wishes:
    """Return the wishes in a marker `vram`.

    Raises:
        SettingsError: there are positional `arguments`, or as `wishes_of_mapping`.
    """
    if arguments:
        expected = ", ".join(MARKER_KEYS)
        raise SettingsError(f"marker vram: got the positional argument {arguments[0]!r}, expected keywords: {expected}")
    return wishes_of_mapping(keywords, "marker vram", MARKER_KEYS, root)


def wishes_of_project(pyproject: Path) -> Wishes:
    """Return the wishes in the table `[tool.vramguard]` of a `pyproject.toml`; none if file or table are missing.

    Raises:
        SettingsError: as `wishes_of_mapping`.
    """
    if not pyproject.is_file() or b"vramguard" not in pyproject.read_bytes():
        return Wishes()
    with reading(pyproject, SettingsError, name=pyproject.name) as root:
        table = root.table("tool", required=False).table("vramguard", required=False)
        return _wishes(table, PROJECT_KEYS, pyproject.parent)


def _wishes(table: Table, known: tuple[str, ...], root: Path) -> Wishes:
    table.refuse_unknown(known)
    json_path = table.string("json", default=None)
    cards = table.strings("cards", default=None)
    baselines = table.string("baselines", default=None)
    artifacts = table.string("artifacts", default=None)
    return Wishes(
        targets=_targets(table),
        device=cast("DeviceChoice | None", table.choice("device", DEVICE_CHOICES, default=None)),
        json_path=None if json_path is None else root / json_path,
        steps=table.integer("steps", default=None, minimum=1),
        warmup=table.integer("warmup", default=None, minimum=0),
        max_gb=table.number("max_gb", default=None, above=0),
        band=_band(table),
        phases=_phases(table),
        min_seq_len=table.integer("min_seq_len", default=None, minimum=1),
        min_batch_size=table.integer("min_batch_size", default=None, minimum=1),
        cards=None if cards is None else tuple(root / card for card in cards),
        max_growth=_parsed(table, "max_growth", parse_allowances),
        max_shrink=_parsed(table, "max_shrink", parse_allowances),
        max_creep_bytes=_parsed(table, "max_creep", parse_size),
        max_syncs=table.integer("max_syncs", default=None, minimum=0),
        max_driver_allocations=table.integer("max_driver_allocations", default=None, minimum=0),
        max_launches_growth=_parsed(table, "max_launches_growth", parse_count_allowance),
        max_syncs_growth=_parsed(table, "max_syncs_growth", parse_count_allowance),
        max_copied_growth=_parsed(table, "max_copied_growth", parse_allowance),
        max_flops_growth=_parsed(table, "max_flops_growth", parse_count_allowance),
        max_slowdown=_parsed(table, "max_slowdown", parse_share),
        job_spread=_parsed(table, "job_spread", parse_share),
        baselines=None if baselines is None else root / baselines,
        require_baseline=table.boolean("require_baseline", default=None),
        accept=table.boolean("accept", default=None),
        artifacts=None if artifacts is None else root / artifacts,
    )


def _targets(table: Table) -> tuple[str, ...] | None:
    """Return one target or several: a string, separated by commas as on the command line, or a list of strings."""
    if isinstance(table.mapping.get("target"), str):
        return split_targets(table.string("target"))
    return table.strings("target", default=None)


def split_targets(text: str) -> tuple[str, ...]:
    """Return the targets in a text like `rtx3060,t4`."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _band(table: Table) -> tuple[float, float] | None:
    ends = table.numbers("band", default=None, count=2)
    if ends is None or len(table.faults) > 0:
        return None
    low, high = ends
    if not 0 <= low < high <= 1:
        table.fault("band", f"got ({low}, {high}), expected (low, high) with 0 <= low < high <= 1, as in (0.7, 0.9)")
    return low, high


def _phases(table: Table) -> tuple[PhaseLimit, ...] | None:
    """Return the limit of each phase in a table like `{"load": "10GB"}`."""
    if table.mapping.get("phases") is None:
        return None
    limits = table.table("phases")
    sizes = {phase: _parsed(limits, phase, parse_limit) for phase in limits.mapping}
    return tuple(PhaseLimit(phase=phase, max_bytes=size or 1) for phase, size in sizes.items())


def _parsed(table: Table, key: str, parse: Callable[[str], T]) -> T | None:
    """Return what the text of a key means; what it should be is noted where it is something else."""
    text = table.string(key, default=None)
    if not text:
        return None
    try:
        return parse(text)
    except ValueError as fault:
        table.fault(key, str(fault))
        return None
