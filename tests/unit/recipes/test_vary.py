"""Which recipe has another length or batch size, and the search for the largest that fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vramguard.recipes import largest_that_fits, varied
from pytest_vramguard.recipes.vary import largest, own_value

if TYPE_CHECKING:
    from pytest_vramguard.recipes import Recipe


@given(low=st.integers(1, 50), extra=st.integers(0, 500), start=st.integers(1, 600), most=st.integers(0, 600))
def test_the_largest_is_found(low: int, extra: int, start: int, most: int) -> None:
    """Wherever the search begins, it finds the largest value from `low` to `high` that fits, or 0."""
    high = low + extra

    found = largest(lambda value: value <= most, low=low, high=high, start=start)

    assert (min(most, high) if most >= low else 0) == found


@given(start=st.integers(1, 5000), most=st.integers(0, 100_000))
def test_without_an_upper_end_few_values_are_tried(start: int, most: int) -> None:
    """Doubling and halving need some two trials for each binary digit, none of them twice."""
    tried: list[int] = []

    def fits(value: int) -> bool:
        tried.append(value)
        return value <= most

    assert most == largest(fits, low=1, high=None, start=start)
    assert len(tried) == len(set(tried)) <= 36


@pytest.mark.parametrize(("low", "high"), [(0, None), (5, 4)])
def test_ends_that_contradict_each_other(low: int, high: int | None) -> None:
    """The message shows both."""
    with pytest.raises(ValueError, match=f"low, high: got {low} and {high}, expected 1 <= low <= high"):
        largest(bool, low=low, high=high, start=1)


def test_a_quantity_that_nobody_varies(recipe: Recipe) -> None:
    """The message lists those that there are."""
    with pytest.raises(ValueError, match="quantity: got 'seq', expected one of seq_len, batch_size"):
        largest_that_fits(recipe, "seq", bool, low=1, high=None)  # type: ignore[arg-type] # the mistake


def test_sequences_are_no_longer_than_the_model_allows(recipe: Recipe) -> None:
    """Where every length fits, the answer is the number of positions that the model has."""
    limited = recipe.with_overrides(model={"config": {"max_position_embeddings": 100}})

    assert 100 == largest_that_fits(limited, "seq_len", lambda _recipe: True, low=1, high=None)


def test_a_batch_of_another_size(recipe: Recipe) -> None:
    """The batch size is that of the training."""
    assert (2, 7) == (own_value(recipe, "batch_size"), own_value(varied(recipe, "batch_size", 7), "batch_size"))
    assert 7 == varied(recipe, "batch_size", 7).training["per_device_train_batch_size"]


def test_a_sequence_of_another_length(recipe: Recipe) -> None:
    """Synthetic samples have the length, and rows of a file are padded to it."""
    rows = recipe.with_overrides(data={"synthetic_length": None, "path": "rows.jsonl"})

    synthetic, padded = varied(recipe, "seq_len", 99).data, varied(rows, "seq_len", 99).data

    assert (99, None) == (synthetic.synthetic_length, synthetic.max_length)
    assert (99, "max_length") == (padded.max_length, padded.padding)
    assert (8, 512) == (own_value(recipe, "seq_len"), own_value(rows, "seq_len"))
