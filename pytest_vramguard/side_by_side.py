"""What came out of two commits that were run in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_vramguard.report import CaseResult


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedCase:
    """A case of both commits."""

    before: CaseResult
    """Of the first round."""
    now: CaseResult
    """Of the first round, with the verdicts of the gates that compare instead of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedCommits:
    """What came out of all rounds."""

    cases: tuple[ComparedCase, ...]
    """In the order of the newer commit."""
    only_before: tuple[str, ...]
    """Ids of cases that the newer commit does not have, or did not run."""
    only_now: tuple[str, ...]
    round_count: int
    """How often each of the two was run."""
