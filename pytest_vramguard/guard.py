"""Conduct one case: put the card in place, measure, read, judge."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_vramguard.artifacts import left_at, write_snapshot
from pytest_vramguard.baselines.store import file_name
from pytest_vramguard.cards import load_catalogue
from pytest_vramguard.collector import collector_at_rest, let_go
from pytest_vramguard.devices import select_device
from pytest_vramguard.devices.stack import allocator_settings
from pytest_vramguard.errors import RecipeError
from pytest_vramguard.judgement import fit_gate, judged
from pytest_vramguard.reading import Longest, Measurement, NotMeasured, OutOfMemory, Reading
from pytest_vramguard.recipes import largest_that_fits, load_recipe, train, varied
from pytest_vramguard.units import gib_text, size_text
from pytest_vramguard.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_vramguard.cards import Card
    from pytest_vramguard.devices import Device
    from pytest_vramguard.meter.meter import Meter
    from pytest_vramguard.recipes import Quantity, Recipe
    from pytest_vramguard.report import CaseResult
    from pytest_vramguard.settings import Settings


class Guard:
    """A run: the device that its cases share, and the cards that they may be judged against."""

    def __init__(self, settings: Settings) -> None:
        """Choose the device and make the process ready for the first target of `settings`, which must have one.

        Raises:
            CatalogueError: a target or a catalogue file is at fault.
            DeviceUnavailable: the device cannot be had here.
        """
        self._catalogue = load_catalogue(settings.cards)
        self.check_targets(settings.targets)
        self._device = select_device(settings.device)
        self._device.enter(self._catalogue.find(settings.targets[0]))
        self._targets = settings.targets
        self._former: Case | None = None
        self._culprit: str | None = None
        self._leftover_bytes = 0

    @property
    def headline(self) -> str:
        """What the run is about, in one line, without asking the device anything."""
        cards = [self._catalogue.find(target) for target in self._targets]
        names = ", ".join(f"{card.key} ({gib_text(card.usable_bytes)} usable)" for card in cards)
        return f"target {names}; device {self._device.description}"

    def check_targets(self, targets: Sequence[str]) -> None:
        """Raise CatalogueError if one of `targets` is not in the catalogue."""
        for target in targets:
            self._catalogue.find(target)

    def open_case(self, case_id: str, target: str, settings: Settings, folders: Sequence[Path]) -> Case:
        """Return a case that has begun to measure; `folders` are where relative paths of recipes are looked for, in order.

        Raises:
            DeviceUnavailable: the device cannot stand in for the target.
        """
        case = Case(case_id, self._catalogue.find(target), self._device, settings, folders)
        let_go(getattr(sys, "last_value", None))
        let_go(self._former.error if self._former else None)
        case.open()
        if case.leftover_bytes > self._leftover_bytes:
            self._culprit = self._former.id if self._former else None
        self._leftover_bytes = case.leftover_bytes
        self._former = case
        case.culprit = self._culprit
        return case


class Case:
    """One test on one target: what a test gets as the fixture `vram`.

    It is open from before the test's fixtures are set up until `conclude`.
    """

    def __init__(self, case_id: str, card: Card, device: Device, settings: Settings, folders: Sequence[Path]) -> None:
        """Describe a case; `folders` are where relative paths of recipes are looked for, in order."""
        self.id = case_id
        self.card = card
        """The target."""
        self.culprit: str | None = None
        """The last case before memory was left behind that is still held, if there was one."""
        self.error: BaseException | None = None
        """What ended the test, if it was an exception."""
        self._device = device
        self._settings = settings
        self._folders = tuple(dict.fromkeys(folders))
        self._recipes: list[str] = []
        self._longest: Longest | None = None
        self._stack = ExitStack()
        self._meter: Meter | None = None

    @property
    def device(self) -> str:
        """What the code runs on: `cuda` (a real card) or `emulated`."""
        return self._device.facts().kind

    @property
    def leftover_bytes(self) -> int:
        """Live bytes that earlier tests left behind."""
        return self._open_meter.leftover_bytes

    def is_foreign(self, error: BaseException | None) -> bool:
        """Return whether `error` has nothing to do with the card: neither a full one nor one that lacks a function."""
        from pytest_vramguard.meter.memory_errors import out_of_memory_in

        return error is not None and out_of_memory_in(error) is None and not self._device.gaps()

    def open(self) -> None:
        """Put the card in place and start to measure.

        Raises:
            DeviceUnavailable: the device cannot stand in for the card.
        """
        with collector_at_rest():  # imports torch
            from pytest_vramguard.meter.meter import Meter, clean

        with ExitStack() as stack:
            clean()
            self._device.place(self.card)
            stack.enter_context(self._device.running())
            known_context_bytes = self._device.context_bytes(self.card)
            self._meter = Meter(
                timed=self._device.timed,
                warmup_steps=self._settings.warmup,
                target_context_bytes=self.card.context_bytes,
                measures_context=known_context_bytes is None,
                counted_step=self._device.counted_step,
                sites_below=self._folders[-1] if self._settings.wants_sites else None,
                keeps_events=self._settings.artifacts is not None,
            )
            self._meter.begin()
            self._stack = stack.pop_all()

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Measure the code inside under `name`, as in `with vram.phase("load"):`."""
        return self._open_meter.phase(name)

    def step(self, tokens: int | None = None) -> AbstractContextManager[None]:
        """Measure the code inside as one training step on `tokens` tokens."""
        return self._open_meter.step(tokens)

    def callback(self) -> Any:
        """Return a `transformers.TrainerCallback` for a Trainer of your own, which measures each of its steps."""
        from pytest_vramguard.recipes.callback import StepCallback

        return StepCallback(self._open_meter)

    def train(self, recipe: str | Path, *, worst_batch: bool = False, **overrides: Any) -> None:
        """Run the warm-up and steps of a recipe, and what it asks for after them.

        Each override is a table, laid over the recipe's, or None to drop it. With `worst_batch` every sample is the longest of
        all rows of the data, so that the largest batch that training will ever meet comes in the first step.

        Raises:
            RecipeError: the recipe is missing or malformed.
            DeviceUnavailable: it is one of several ranks, and the device cannot do without the others.
        """
        self._train(self._load(recipe, overrides), worst_batch=worst_batch)

    def longest(
        self, recipe: str | Path, quantity: Quantity, *, low: int = 1, high: int | None = None, **overrides: Any
    ) -> int:
        """Return the largest `quantity` of a recipe, `seq_len` or `batch_size`, that fits the target; 0 if `low` does not.

        Each trial is a clean run in this process, on the longest sample of the data; a last one, with the value that was found,
        is what the case measures. Without `high` sequences are no longer than the model has positions.

        Raises:
            RecipeError: the recipe is missing or malformed.
            RuntimeError: this test has measured something before, or a trial could not be measured.
            ValueError: `quantity` is another one, or `low` and `high` contradict each other.
        """
        if self._open_meter.has_measured:
            raise RuntimeError("vram.longest: got a test that has measured something, expected to come first in it")
        loaded = self._load(recipe, overrides)
        self.abandon()
        value = largest_that_fits(loaded, quantity, self._fits, low=low, high=high)
        self._longest = Longest(quantity=quantity, value=value)
        self.open()
        self._train(varied(loaded, quantity, value or low), worst_batch=True)
        return value

    def _load(self, recipe: str | Path, overrides: dict[str, Any]) -> Recipe:
        """Return a recipe, and note that it was used."""
        loaded = load_recipe(self._find(recipe)).with_overrides(**overrides)
        self._recipes.append(loaded.fingerprint)
        return loaded

    def _train(self, recipe: Recipe, *, worst_batch: bool) -> None:
        steps, ranks = self._settings.warmup + self._settings.steps, recipe.distributed
        with nullcontext() if ranks is None else self._device.ranked(ranks.rank, ranks.world_size):
            train(recipe, steps=steps, watch=self._open_meter, worst_batch=worst_batch)

    def _fits(self, recipe: Recipe) -> bool:
        """Return whether a clean run of `recipe` keeps to the limits of the fit gate."""
        self.open()
        error = None
        try:
            self._train(recipe, worst_batch=True)
        except RuntimeError as full:
            error = full
        reading = self._read(error)
        if isinstance(reading, NotMeasured):
            raise error or RuntimeError(f"vram.longest: {reading.reason}")
        let_go(error)
        self._stack.close()
        return fit_gate(self._settings).judge(reading, self.card).outcome is Outcome.PASS

    def abandon(self) -> None:
        """Stop to measure without a result: the test was skipped or interrupted."""
        self._open_meter.end(None)
        self._stack.close()

    def conclude(self, error: BaseException | None) -> CaseResult:
        """Stop to measure and judge; `error` is the exception that ended the test, if one did."""
        self.error = error
        reading = self._read(error)
        self._stack.close()
        recipe = (("recipe", " ".join(self._recipes)),) if self._recipes else ()
        conditions = (*allocator_settings(), *recipe)
        result = judged(self.id, self.card, self._device.facts(), reading, self._settings, conditions=conditions)
        return replace(result, snapshot=self._left_snapshot()) if result.outcome is Outcome.FAIL else result

    def _left_snapshot(self) -> str | None:
        """Write what the allocator did, where that is kept; return the path, or why it could not be written."""
        snapshot = self._open_meter.snapshot()
        if self._settings.artifacts is None or snapshot is None:
            return None
        return left_at(self._settings.artifacts / file_name(self.id, ".pickle"), partial(write_snapshot, snapshot))

    @property
    def _open_meter(self) -> Meter:
        if self._meter is None:
            message = "vram: used outside of its test; use it inside"
            raise RuntimeError(message)
        return self._meter

    def _find(self, recipe: str | Path) -> Path:
        places = [folder / recipe for folder in self._folders]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            message = f"{recipe}: not found in {' or '.join(str(folder) for folder in self._folders)}; correct the path"
            raise RecipeError(message)
        return found

    def _read(self, error: BaseException | None) -> Reading:
        from pytest_vramguard.meter.memory_errors import out_of_memory_in

        full = out_of_memory_in(error)
        reading = self._open_meter.end(full)
        gaps = self._device.gaps()
        if gaps:
            return NotMeasured(reason="; ".join(gaps))
        if error is not None and full is None:
            return NotMeasured(reason=f"the test ended with {type(error).__name__}: {error}")
        if self._open_meter.leftover_was_freed:
            return NotMeasured(
                reason=f"{self._leftover_text()} and given back during it; free it there, or run this test alone"
            )
        if self.leftover_bytes and isinstance(reading, OutOfMemory):
            return NotMeasured(reason=f"out of memory while {self._leftover_text()}; free it there, or run this test alone")
        return self._annotated(reading)

    def _annotated(self, reading: Measurement | OutOfMemory) -> Reading:
        annotated = replace(reading, notes=(*reading.notes, *self._device.notes()), outside=self._device.outside())
        if not isinstance(annotated, Measurement):
            return annotated
        culprit = self.culprit if annotated.leftover_bytes else None
        return replace(annotated, leftover_from=culprit, longest=self._longest, work=self._device.work())

    def _leftover_text(self) -> str:
        since = f"since {self.culprit}" if self.culprit else "since before the first case"
        return f"{size_text(self.leftover_bytes)} were still held from before this test ({since})"
