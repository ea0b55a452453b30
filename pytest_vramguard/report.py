"""The result of a run: one `CaseResult` for each case, gathered in a `Report`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_vramguard.reading import NotMeasured, Reading
from pytest_vramguard.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pytest_vramguard.baseline import Environment


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceFacts:
    """What the code ran on, for the reader of a report and for later comparisons."""

    kind: str
    """`cuda` (a real card) or `emulated`."""
    name: str
    """Name that the driver reports."""
    usable_bytes: int
    """Total memory that the driver reports."""
    compute_capability: str
    """As in `8.6`."""
    driver: str
    """Driver version; for an emulated card the version that it answers with."""
    versions: tuple[tuple[str, str], ...] = ()
    """Installed packages that shape the numbers, by name: torch, cuda, transformers, peft, bitsandbytes."""


def environment_of(device: DeviceFacts, conditions: tuple[tuple[str, str], ...]) -> Environment:
    """Return what can change a number without a change of the tested code, in one flat list."""
    return (("device", device.kind), ("gpu", device.name), ("driver", device.driver), *device.versions, *conditions)


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseResult:
    """One test, or one `vramguard run`, on one target."""

    id: str
    """Node id of the test."""
    target: str
    """Catalogue key of the card that it was judged against."""
    target_usable_bytes: int
    device: DeviceFacts
    reading: Reading
    verdicts: tuple[Verdict, ...]
    advice: str | None = None
    """What the utilisation suggests, where no band was asked for."""
    conditions: tuple[tuple[str, str], ...] = ()
    """What else shapes the numbers, by name: `allocator` (its settings) and `recipe` (a fingerprint), where there are any."""
    limits: tuple[tuple[str, str], ...] = ()
    """How far the case may be from what it was, by the key of the marker and as it is written there."""

    snapshot: str | None = None
    """Path of the snapshot of the allocator's history, or why it could not be written; None where none was to be kept."""

    @property
    def environment(self) -> Environment:
        """What the case has in common with others whose numbers may be compared with its own, or has not."""
        return environment_of(self.device, self.conditions)

    @property
    def outcome(self) -> Outcome:
        """FAIL if any gate failed, else UNJUDGED if any gate could not judge or none was asked, else PASS."""
        outcomes = {verdict.outcome for verdict in self.verdicts}
        if Outcome.FAIL in outcomes:
            return Outcome.FAIL
        if Outcome.UNJUDGED in outcomes or not outcomes:
            return Outcome.UNJUDGED
        return Outcome.PASS

    @property
    def is_red(self) -> bool:
        """Whether the test must fail: a gate did, could not judge what it must, or none was asked."""
        return not self.verdicts or any(verdict.is_red for verdict in self.verdicts)

    @property
    def peak_device_share(self) -> float | None:
        """Device peak as a share of the target's usable bytes, 0 upwards; None where nothing was measured."""
        if isinstance(self.reading, NotMeasured):
            return None
        return self.reading.peak_device_bytes / self.target_usable_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Every case of a run, in the order in which they ended."""

    tool: str
    """Name and version of the writer: `pytest-vramguard 0.1.0`."""
    cases: tuple[CaseResult, ...]
