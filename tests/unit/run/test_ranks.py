"""Which ranks are run, and what a process finds out of its environment."""

from __future__ import annotations

import pytest

from pytest_vramguard.run.ranks import Place, place_in, ranks_of_text


@pytest.mark.parametrize(
    ("text", "world_size", "expected"),
    [
        ("all", 3, (0, 1, 2)),
        ("auto", 64, (0, 63)),
        ("auto", 1, (0,)),
        ("3,0", 4, (0, 3)),
        ("0,0", 4, (0,)),
        ("1,9", 4, (1,)),
        ("9", 4, ()),
    ],
)
def test_ranks_that_are_run(text: str, world_size: int, expected: tuple[int, ...]) -> None:
    """`auto` is the first and the last; numbers are those that there are, once each and in order."""
    assert expected == ranks_of_text(text).run_of(world_size)


@pytest.mark.parametrize("text", ["", "some", "-1", "0,", "0 1", "0,x", "1.0"])
def test_what_names_no_ranks_is_refused(text: str) -> None:
    """A text that is no choice is named, with what would be one."""
    with pytest.raises(ValueError, match="expected all, auto, or ranks as in 0,3"):
        ranks_of_text(text)


def test_a_rank_knows_its_place() -> None:
    """The variables of torchrun say who a process is; without a choice all ranks are run."""
    environment = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}

    assert Place(rank=3, world_size=4, present=(0, 1, 2, 3)) == place_in(environment)
    assert Place(rank=3, world_size=4, present=(0, 3)) == place_in({**environment, "VRAMGUARD_RANKS": "auto"})


@pytest.mark.parametrize("missing", ["RANK", "LOCAL_RANK", "WORLD_SIZE"])
def test_who_is_no_rank_has_no_place(missing: str) -> None:
    """A launcher may have some of the variables, as a cluster sets them for a machine; a rank has them all."""
    environment = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}
    del environment[missing]

    assert place_in(environment) is None
