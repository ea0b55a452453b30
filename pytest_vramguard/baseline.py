"""An accepted measurement, and in what a later one differs from it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final, TypeAlias

from pytest_vramguard.reading import Parts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_vramguard.reading import Measurement, Origins, UsedMemory

Environment: TypeAlias = tuple[tuple[str, str], ...]
"""What can change a number without a change of the tested code, by name: device, gpu, driver, versions, allocator, recipe."""

MUST_AGREE: Final = ("device", "gpu")
"""Keys of an environment without which two measurements say nothing about each other."""
ABSENT: Final = "none"
"""What stands for a key that an environment does not have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """A measurement that somebody accepted, with which later ones of the same case are compared."""

    case: str
    """Node id of the test."""
    target: str
    """Catalogue key of the card that it was judged against."""
    environment: Environment
    measurement: Measurement
    tool: str = field(compare=False)
    """Name and version of what measured it: `pytest-vramguard 0.1.0`. It makes no difference."""

    @property
    def device(self) -> str:
        """What the code ran on: `cuda` or `emulated`."""
        return dict(self.environment).get("device", ABSENT)


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeChange:
    """A named number of bytes, before and now."""

    name: str
    before_bytes: int
    now_bytes: int

    @property
    def growth_bytes(self) -> int:
        """How much more there is now; negative if there is less."""
        return self.now_bytes - self.before_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyChange:
    """A key of the environment whose values differ."""

    key: str
    before: str
    now: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A measurement, or what there was when the card was full, beside a baseline."""

    baseline: Baseline
    measurement: UsedMemory
    environment: Environment
    """That of `measurement`."""

    @property
    def parts(self) -> tuple[SizeChange, ...]:
        """Every part of the allocated peak that changed, the largest growth first."""
        before, now = self.baseline.measurement.parts, self.measurement.parts
        named = (part.name for part in fields(Parts))
        return _changes((name.removesuffix("_bytes"), getattr(before, name), getattr(now, name)) for name in named)

    @property
    def finer_parts(self) -> tuple[SizeChange, ...]:
        """Every share of a part that changed, and fragmentation, which lies beside the allocated peak; largest growth first."""
        before, now = self.baseline.measurement, self.measurement
        found = [("fragmentation", before.fragmentation_bytes, now.fragmentation_bytes)]
        if self.origins is not None:
            was, is_now = self.origins
            shares = ("adapters", "logits", "workspace")
            found += [(name, getattr(was, f"{name}_bytes"), getattr(is_now, f"{name}_bytes")) for name in shares]
        return _changes(found)

    @property
    def origins(self) -> tuple[Origins, Origins] | None:
        """Where the peaks came from, before and now; None where one of them does not say."""
        before, now = self.baseline.measurement.origins, self.measurement.origins
        return None if before is None or now is None else (before, now)

    @property
    def phases(self) -> tuple[SizeChange, ...]:
        """Every phase of both whose allocated peak changed, the largest growth first."""
        before = {phase.name: phase.peak_allocated_bytes for phase in self.baseline.measurement.phases}
        now = {phase.name: phase.peak_allocated_bytes for phase in self.measurement.phases}
        return _changes((name, before[name], now[name]) for name in before if name in now)

    @property
    def new_phases(self) -> tuple[str, ...]:
        """Phases that the baseline does not have."""
        before = {phase.name for phase in self.baseline.measurement.phases}
        return tuple(phase.name for phase in self.measurement.phases if phase.name not in before)

    @property
    def keys(self) -> tuple[KeyChange, ...]:
        """Every key of the environment that changed."""
        return changed_keys(self.baseline.environment, self.environment)


@dataclass(frozen=True, kw_only=True, slots=True)
class Acceptance:
    """What became of one case."""

    case: str
    target: str
    refusal: str | None = None
    """Why it is no baseline; None if it is one now."""
    baseline: Baseline | None = None
    """What is in the file now, unless it was refused."""
    former: Baseline | None = None
    """What was in the file before, if there was one."""

    @property
    def comparison(self) -> Comparison | None:
        """The new baseline beside the former one, where there are both."""
        if self.baseline is None or self.former is None:
            return None
        return Comparison(baseline=self.former, measurement=self.baseline.measurement, environment=self.baseline.environment)


def not_comparable(baseline: Baseline, environment: Environment) -> str | None:
    """Return why `baseline` says nothing about a measurement in `environment`, with the next step; None if it does."""
    apart = [change for change in changed_keys(baseline.environment, environment) if change.key in MUST_AGREE]
    if not apart:
        return None
    keys = ", ".join(f"{change.key} was {change.before!r} and is {change.now!r}" for change in apart)
    return f"the baseline says nothing about this: {keys}; accept one here, or run where it was accepted"


def changed_keys(before: Environment, now: Environment) -> tuple[KeyChange, ...]:
    """Return the keys whose values differ, in the order of `before`, then those that are new."""
    old, new = dict(before), dict(now)
    return tuple(
        KeyChange(key=key, before=old.get(key, ABSENT), now=new.get(key, ABSENT))
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    )


def _changes(sizes: Iterable[tuple[str, int, int]]) -> tuple[SizeChange, ...]:
    found = [SizeChange(name=name, before_bytes=before, now_bytes=now) for name, before, now in sizes if before != now]
    return tuple(sorted(found, key=lambda change: -change.growth_bytes))
