"""Tests of what the guard decides before anything is measured; what it measures is tested through pytest."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_vramguard.allowance import parse_allowance, parse_count_allowance
from pytest_vramguard.devices import Device
from pytest_vramguard.errors import CatalogueError, RecipeError
from pytest_vramguard.guard import Case, Guard
from pytest_vramguard.judgement import judged
from pytest_vramguard.settings import Settings
from tests import samples

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from pytest_vramguard.cards import Card
    from pytest_vramguard.report import DeviceFacts


class FakeDevice(Device):
    """A device that is always there and never has anything to say."""

    timed = False
    description = "fake"

    def enter(self, card: Card) -> None:
        """Need no preparation."""

    def place(self, target: Card) -> None:
        """Accept every card."""

    def context_bytes(self, target: Card) -> int | None:
        """Return the figure of the card."""
        return target.context_bytes

    def running(self) -> AbstractContextManager[None]:
        """Return a context that does nothing."""
        return nullcontext()

    def counted_step(self) -> AbstractContextManager[None]:
        """Return a context that counts nothing."""
        return nullcontext()

    def work(self) -> None:
        """Count nothing."""

    def gaps(self) -> tuple[str, ...]:
        """Return nothing."""
        return ()

    def outside(self) -> None:
        """Know of nothing."""

    def ranked(self, rank: int, world_size: int) -> AbstractContextManager[None]:
        """Do without the other ranks."""
        del rank, world_size
        return nullcontext()

    def notes(self) -> tuple[str, ...]:
        """Return nothing."""
        return ()

    def facts(self) -> DeviceFacts:
        """Return sample facts."""
        return samples.device()


def case(*folders: Path) -> Case:
    """Return a case that is not open."""
    return Case("test_a.py::test_b", samples.card(), FakeDevice(), Settings(), folders)


@pytest.mark.parametrize("targets", [("rtx306",), ("rtx306", "t4")])
def test_an_unknown_target_is_refused_before_a_device_is_looked_for(targets: tuple[str, ...]) -> None:
    """The catalogue is asked first, so that a typing error is told on every machine."""
    with pytest.raises(CatalogueError, match=r"card 'rtx306': not in the catalogue, .* did you mean 'rtx3060'\?"):
        Guard(Settings(targets=targets, device="emulated"))


def test_every_target_is_checked() -> None:
    """A wrong name among right ones is told at once, and not when its turn comes."""
    with pytest.raises(CatalogueError, match=r"card 't44': not in the catalogue"):
        Guard(Settings(targets=("t4", "t44"), device="emulated"))


def test_a_case_tells_its_card_and_device() -> None:
    """A test can ask what it is judged against and what it runs on."""
    found = case()

    assert samples.card() == found.card
    assert samples.device().kind == found.device


def test_a_case_that_is_not_open_measures_nothing() -> None:
    """The fixture is of use inside of its test alone."""
    with pytest.raises(RuntimeError, match="vram: used outside of its test; use it inside"):
        case().phase("load")


def test_a_recipe_is_looked_for_in_every_folder(tmp_path: Path) -> None:
    """The message names each folder once, in the order in which they were searched."""
    folders = (tmp_path / "tests", tmp_path, tmp_path)

    with pytest.raises(RecipeError) as caught:
        case(*folders).train("recipes/a.toml")

    assert f"recipes/a.toml: not found in {tmp_path / 'tests'} or {tmp_path}; correct the path" == str(caught.value)


def test_the_nearer_recipe_is_taken(tmp_path: Path) -> None:
    """Of two recipes of one name the one in the former folder is read."""
    near = tmp_path / "tests"
    near.mkdir()
    (near / "a.toml").write_text("[near]", encoding="utf-8")
    (tmp_path / "a.toml").write_text("[far]", encoding="utf-8")

    with pytest.raises(RecipeError, match="near: unknown key"):
        case(near, tmp_path).train("a.toml")


def test_the_settings_name_the_gates(tmp_path: Path) -> None:
    """Each limit of the work is a gate, those that compare with a baseline only where none is to be accepted."""
    settings = Settings(
        max_syncs=3,
        max_driver_allocations=0,
        max_copied_growth=parse_allowance("1%"),
        max_flops_growth=parse_count_allowance("1%"),
        baselines=tmp_path,
    )
    reading = samples.measurement(work=samples.work())

    found = [
        [
            (verdict.gate, verdict.metric, verdict.outcome.value)
            for verdict in judged("a", samples.card(), samples.device(), reading, asked, conditions=()).verdicts
        ]
        for asked in (settings, replace(settings, accept=True))
    ]

    own = [
        ("fit", "peak device bytes", "PASS"),
        ("work", "syncs a steady step", "PASS"),
        ("work", "driver allocations a steady step", "FAIL"),
    ]
    compared = [("work growth", f"{figure} a steady step", "UNJUDGED") for figure in ("copied", "flops")]
    assert [[*own, *compared], own] == found
