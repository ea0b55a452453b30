"""What a run and a case are asked to do, resolved once from every place that can ask.

Precedence: command line, then the marker of the test, then pytest's ini options, then `[tool.vramguard]`, then the default.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar, cast

from pytest_vramguard.errors import SettingsError
from pytest_vramguard.tables import checking, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_vramguard.gates.allowance import Allowance, PeakAllowance
    from pytest_vramguard.gates.phase import PhaseLimit
    from pytest_vramguard.reading import WorkName
    from pytest_vramguard.tables import Table

T = TypeVar("T")
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
BASELINES_FOLDER: Final = "vram-baselines"
JOB_SPREAD: Final = 0.26
"""How far jobs on hosted runners were apart that ran the same code, as a share. Source: fast_mail_parser, pull request 128."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What holds for a run or for one case."""

    targets: tuple[str, ...] = ()
    """Catalogue keys of the cards to judge against; several parametrise a test."""
    device: DeviceChoice = "auto"
    """What the code runs on: `auto` takes a real card if there is one, else the emulated one."""
    json_path: Path | None = None
    """Where the report is written as JSON; None writes none."""
    steps: int = 2
    """Training steps of a recipe after the warm-up; these are timed on a real card."""
    warmup: int = 1
    """Training steps before them. Optimizer states appear at the end of the first step: 1 step in all can miss the peak."""
    max_gb: float | None = None
    """Limit of the fit gate in GiB besides the card itself; None leaves the card as the only limit."""
    band: tuple[float, float] | None = None
    """Share of the card's usable bytes that the device peak must lie in, both ends inclusive; None judges no band."""
    phases: tuple[PhaseLimit, ...] = ()
    """Limits of the device peaks of single phases."""
    min_seq_len: int | None = None
    """Tokens that the answer of `vram.longest(recipe, "seq_len")` must not be below; None leaves it unjudged."""
    min_batch_size: int | None = None
    """Samples that the answer of `vram.longest(recipe, "batch_size")` must not be below; None leaves it unjudged."""
    cards: tuple[Path, ...] = ()
    """Files with further cards."""
    max_growth: tuple[PeakAllowance, ...] = ()
    """How much a peak may be above its baseline; none leaves growth unjudged."""
    max_shrink: tuple[PeakAllowance, ...] = ()
    """How much a peak may be below its baseline; none leaves it unjudged."""
    max_creep_bytes: int | None = None
    """How much the memory held after each step may rise a step; None judges 0 where there are enough steps to judge."""
    max_syncs: int | None = None
    """How often the host may wait for an emulated card in a steady step; None judges no number."""
    max_driver_allocations: int | None = None
    """How many allocations of a steady step may reach the driver of an emulated card; None judges no number."""
    max_launches_growth: Allowance | None = None
    """How many more kernels and library calls than its baseline a steady step may launch; None leaves it unjudged, as below."""
    max_syncs_growth: Allowance | None = None
    """How much more often than in its baseline the host may wait in a steady step."""
    max_copied_growth: Allowance | None = None
    """How many more bytes than in its baseline a steady step may copy between host and card."""
    max_flops_growth: Allowance | None = None
    """How many more floating-point operations than its baseline a steady step may take."""
    max_slowdown: float | None = None
    """How much longer a step may take than before, as a share; None leaves step times unjudged."""
    job_spread: float = JOB_SPREAD
    """How far jobs are apart that run the same code, as a share; less than the default where the machine is one's own."""
    baselines: Path = Path(BASELINES_FOLDER)
    """Folder of the baselines."""
    require_baseline: bool = False
    """Whether a gate fails the test that has no baseline, or that no baseline can decide."""
    accept: bool = False
    """Whether the measurements of this run become the baselines; nothing is compared with the former ones then."""
    artifacts: Path | None = None
    """Folder in which each failed case leaves a snapshot of the allocator's history; None keeps none."""

    @property
    def wants_sites(self) -> bool:
        """Whether lines and modules that allocate are recorded: where a gate may name them, or a baseline is to hold them."""
        return bool(self.max_growth or self.max_shrink or self.accept) or self.max_creep_bytes is not None

    @property
    def work_limits(self) -> dict[WorkName, int]:
        """The largest figures of a steady step that pass."""
        limits: dict[WorkName, int | None] = {"syncs": self.max_syncs, "driver_allocations": self.max_driver_allocations}
        return {figure: most for figure, most in limits.items() if most is not None}

    @property
    def work_growth(self) -> dict[WorkName, Allowance]:
        """How much larger than their baselines the figures of a steady step may be."""
        wanted: dict[WorkName, Allowance | None] = {
            "launches": self.max_launches_growth,
            "syncs": self.max_syncs_growth,
            "copied": self.max_copied_growth,
            "flops": self.max_flops_growth,
        }
        return {figure: allowance for figure, allowance in wanted.items() if allowance is not None}

    @property
    def minimums(self) -> tuple[tuple[str, int], ...]:
        """What the answer of `vram.longest` must not be below, by what it varies."""
        asked = (("seq_len", self.min_seq_len), ("batch_size", self.min_batch_size))
        return tuple((quantity, minimum) for quantity, minimum in asked if minimum is not None)


def resolve(*wishes: Wishes) -> Settings:
    """Return the settings that follow from `wishes`, the strongest first; what nobody asks for keeps its default."""
    chosen = {}
    for field in fields(Settings):
        asked = [getattr(wish, field.name) for wish in wishes]
        said = next((value for value in asked if value is not None), None)
        if said is not None:
            chosen[field.name] = said
    return Settings(**chosen)


def limits_of(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Return how far a case may be from what it was, by the key of the marker and as it is written there."""
    texts = {
        "max_growth": _allowances_text(settings.max_growth),
        "max_shrink": _allowances_text(settings.max_shrink),
        "max_slowdown": "" if settings.max_slowdown is None else f"{settings.max_slowdown * 100:g}%",
    }
    return tuple((key, text) for key, text in texts.items() if text)


def _allowances_text(limits: tuple[PeakAllowance, ...]) -> str:
    return ", ".join(f"{limit.peak}={limit.allowance.text}" for limit in limits)


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
        max_growth=_allowances(table, "max_growth"),
        max_shrink=_allowances(table, "max_shrink"),
        max_creep_bytes=_size(table, "max_creep"),
        max_syncs=table.integer("max_syncs", default=None, minimum=0),
        max_driver_allocations=table.integer("max_driver_allocations", default=None, minimum=0),
        max_launches_growth=_count_allowance(table, "max_launches_growth"),
        max_syncs_growth=_count_allowance(table, "max_syncs_growth"),
        max_copied_growth=_size_allowance(table, "max_copied_growth"),
        max_flops_growth=_count_allowance(table, "max_flops_growth"),
        max_slowdown=_share(table, "max_slowdown"),
        job_spread=_share(table, "job_spread"),
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
    from pytest_vramguard.gates.allowance import parse_limit  # for the few runs that ask for it
    from pytest_vramguard.gates.phase import PhaseLimit

    texts = {phase: limits.string(phase) for phase in limits.mapping}
    sizes = {phase: _parsed(limits, phase, text, parse_limit) for phase, text in texts.items() if text}
    return tuple(PhaseLimit(phase=phase, max_bytes=size or 1) for phase, size in sizes.items())


def _allowances(table: Table, key: str) -> tuple[PeakAllowance, ...] | None:
    """Return what a text like `1%+8MiB` allows; what it should be is noted where it is something else."""
    text = table.string(key, default=None)
    if not text:
        return None
    from pytest_vramguard.gates.allowance import parse_allowances  # for the few runs that ask for it

    return _parsed(table, key, text, parse_allowances)


def _count_allowance(table: Table, key: str) -> Allowance | None:
    """Return what a text like `1%+10` allows; what it should be is noted where it is something else."""
    text = table.string(key, default=None)
    if not text:
        return None
    from pytest_vramguard.gates.allowance import parse_count_allowance  # for the few runs that ask for it

    return _parsed(table, key, text, parse_count_allowance)


def _size_allowance(table: Table, key: str) -> Allowance | None:
    """Return what a text like `1%+8MiB` allows; what it should be is noted where it is something else."""
    text = table.string(key, default=None)
    if not text:
        return None
    from pytest_vramguard.gates.allowance import parse_allowance  # for the few runs that ask for it

    return _parsed(table, key, text, parse_allowance)


def _size(table: Table, key: str) -> int | None:
    """Return the bytes in a text like `64KiB`; what it should be is noted where it is something else."""
    text = table.string(key, default=None)
    if not text:
        return None
    from pytest_vramguard.gates.allowance import parse_size  # for the few runs that ask for it

    return _parsed(table, key, text, parse_size)


def _share(table: Table, key: str) -> float | None:
    """Return the share in a text like `10%`; what it should be is noted where it is something else."""
    text = table.string(key, default=None)
    if not text:
        return None
    from pytest_vramguard.gates.allowance import parse_share  # for the few runs that ask for it

    return _parsed(table, key, text, parse_share)


def _parsed(table: Table, key: str, text: str, parse: Callable[[str], T]) -> T | None:
    try:
        return parse(text)
    except ValueError as fault:
        table.fault(key, str(fault))
        return None
