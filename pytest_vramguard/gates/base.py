"""The shape of a gate: a rule that turns a reading into a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from pytest_vramguard.cards.catalogue import Card
    from pytest_vramguard.reading import Reading
    from pytest_vramguard.verdict import Verdict


class Gate(Protocol):
    """One rule. A gate is pure: it reads no file and does not know on which device the reading was taken."""

    name: ClassVar[str]
    """As in `Verdict.gate`: `fit`, `band`."""

    def judge(self, reading: Reading, card: Card) -> Verdict:
        """Decide what `reading` means for `card`.

        `NotMeasured` gives UNJUDGED with its reason, `OutOfMemory` gives FAIL, unless only a phase that had ended is judged.
        Never raises.
        """
