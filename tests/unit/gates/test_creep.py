"""What the creep gate takes for a rise, and what it does not."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vramguard.gates import CreepGate
from pytest_vramguard.gates.creep import MOST_LEVELS, TOLERANCE_BYTES
from pytest_vramguard.units import GIB, MIB
from pytest_vramguard.verdict import Outcome, Verdict
from tests import samples

if TYPE_CHECKING:
    from pytest_vramguard.reading import Origins

CARD = samples.card()
FIRST_STEP_BYTES = 7


def judged(*levels_bytes: int, max_bytes: int = 0) -> Verdict:
    """Return the verdict on these levels after the steady steps."""
    reading = samples.measurement(after_step_bytes=(FIRST_STEP_BYTES, *levels_bytes))
    return CreepGate(max_bytes=max_bytes).judge(reading, CARD)


@pytest.mark.parametrize("max_bytes", [0, MIB])
@pytest.mark.parametrize(("off_bytes", "outcome"), [(-1, Outcome.PASS), (0, Outcome.PASS), (1, Outcome.FAIL)])
def test_the_limit_to_the_byte(max_bytes: int, off_bytes: int, outcome: Outcome) -> None:
    """One byte a step above limit and tolerance fails, and the limit itself passes."""
    a_step_bytes = max_bytes + TOLERANCE_BYTES + off_bytes

    verdict = judged(*(GIB + index * a_step_bytes for index in range(6)), max_bytes=max_bytes)

    assert (outcome, a_step_bytes) == (verdict.outcome, verdict.observed)


@pytest.mark.parametrize(
    "levels_bytes",
    [
        (GIB,) * 6,
        (GIB, GIB, GIB, GIB, 2 * GIB, 2 * GIB),  # one jump
        (GIB, 2 * GIB, 3 * GIB, 3 * GIB, 3 * GIB, 3 * GIB),  # it settles
        (GIB, 2 * GIB, GIB, 2 * GIB, GIB, 2 * GIB),  # batches of changing length
        (6 * GIB, 5 * GIB, 4 * GIB, 3 * GIB, 2 * GIB, GIB),
        (GIB, GIB + 512, GIB + 1024, GIB + 1536, GIB + 2048, GIB + 2560),  # losses that are kept
    ],
)
def test_what_is_no_creep(levels_bytes: tuple[int, ...]) -> None:
    """Level, one jump, an early rise that settles, up and down, falling, and a few bytes pass."""
    assert Outcome.PASS is judged(*levels_bytes).outcome


@pytest.mark.parametrize(
    "levels_bytes",
    [
        tuple(GIB + index * MIB for index in range(6)),
        tuple(GIB + index // 2 * MIB for index in range(7)),  # every other step
        tuple(GIB + index * MIB + (index % 2) * MIB // 2 for index in range(12)),  # with noise
        tuple(GIB + index * MIB for index in range(10 * MOST_LEVELS)),
    ],
)
def test_what_is_creep(levels_bytes: tuple[int, ...]) -> None:
    """A rise in every step, in every other one, with noise on it, and over many steps fails."""
    assert Outcome.FAIL is judged(*levels_bytes).outcome


@given(st.lists(st.integers(0, GIB), min_size=6, max_size=40), st.randoms())
def test_the_tide_may_fall(levels_bytes: list[int], shuffling: object) -> None:  # noqa: ARG001 (more orders to try)
    """Levels of which the last is not above the first never fail."""
    assert Outcome.PASS is judged(*levels_bytes, min(levels_bytes)).outcome


def test_batches_of_random_length_raise_no_alarm() -> None:
    """Of 1000 cases whose levels only vary with the length of the batch, over 20 steps, none creeps."""
    chance = random.Random(3)  # noqa: S311 (no secret)

    assert 0 == sum(judged(*(GIB + chance.randrange(64) * MIB for _ in range(20))).outcome is Outcome.FAIL for _ in range(1000))


def test_what_a_failure_says() -> None:
    """A failure says how much a step adds, and shows the first levels."""
    verdict = judged(*(GIB + index * MIB for index in range(8)))

    assert (
        "7.0 MiB more after 8 steady steps, 1.0 MiB a step besides the largest jump: something keeps what each step made"
        == (verdict.reason)
    )
    assert "after each step: 1.00 GiB, 1.00 GiB, 1.00 GiB, 1.00 GiB, 1.00 GiB, 1.00 GiB, ..." == verdict.causes[0]


@pytest.mark.parametrize(
    ("origins", "line"),
    [
        (None, 'lines that allocate are recorded where max_creep is asked for; give the marker max_creep="0"'),
        (samples.origins(), "kept: 6.0 MiB of train.py:20 in step: outputs.append(model(batch))"),
        (
            samples.origins(survivors=()),
            "no line is known: none of the recorded steps left anything behind; more are recorded with warmup=4",
        ),
    ],
)
def test_which_lines_are_named(origins: Origins | None, line: str) -> None:
    """A failure names the lines whose memory survives, or says how to have them named."""
    levels = tuple(GIB + index * MIB for index in range(8))
    reading = samples.measurement(after_step_bytes=levels, origins=origins)

    assert (line,) == CreepGate(max_bytes=0).judge(reading, CARD).causes[1:]


def test_too_few_steps_are_not_judged() -> None:
    """Fewer than six steps after the first give UNJUDGED with what to do."""
    verdict = judged(1, 2, 3, 4, 5)

    assert (Outcome.UNJUDGED, True) == (verdict.outcome, verdict.is_red)
    assert "got 5 steps after the first, expected at least 6; give the marker steps=6" == verdict.reason


def test_out_of_memory_fails() -> None:
    """A card that is full has crept, for all that is known."""
    assert Outcome.FAIL is CreepGate(max_bytes=0).judge(samples.out_of_memory(), CARD).outcome


def test_not_measured_is_not_judged() -> None:
    """Without a measurement the reason is that of the reading."""
    verdict = CreepGate(max_bytes=0).judge(samples.not_measured("no card"), CARD)

    assert (Outcome.UNJUDGED, "no card") == (verdict.outcome, verdict.reason)
