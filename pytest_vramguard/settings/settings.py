"""What holds for a run or a case, resolved from what every place asks for."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pytest_vramguard.allowance import Allowance, PeakAllowance, PhaseLimit
    from pytest_vramguard.reading import WorkName
    from pytest_vramguard.settings.keys import DeviceChoice
    from pytest_vramguard.settings.wishes import Wishes

BASELINES_FOLDER: Final = "vram-baselines"
JOB_SPREAD: Final = 0.26
"""How far jobs on hosted runners were apart that ran the same code, as a share. Source: fast_mail_parser, pull request 128."""


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
    """Whether a gate that compares with a baseline fails the test where there is none."""
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
