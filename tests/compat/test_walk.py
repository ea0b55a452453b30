"""The list of supported releases, and what `make compat` says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.compat.walk import Era, Outcome, WalkError, chosen, load_eras, main, text_of

if TYPE_CHECKING:
    from pathlib import Path

OLD = Era(torch="2.1.2", cuda="12.1", packages=("numpy<2",))
NEW = Era(torch="newest", cuda="13", packages=("peft",))


def test_the_list_names_each_release_once() -> None:
    """Both majors of CUDA are among them, and the newest release."""
    releases = [era.torch for era in load_eras()]

    assert len(releases) == len(set(releases))
    assert {"12", "13"} == {era.cuda[:2] for era in load_eras()}
    assert "newest" in releases


def test_an_era_says_what_pip_installs() -> None:
    """A release is pinned; the newest is not."""
    assert ("torch===2.1.2", "numpy<2") == OLD.requirements
    assert ("torch", "peft") == NEW.requirements


def test_releases_are_chosen_by_name() -> None:
    """None named is all."""
    assert (NEW,) == chosen((OLD, NEW), ["newest"])
    assert (OLD, NEW) == chosen((OLD, NEW), [])


def test_an_unknown_release_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is installed for it."""
    with pytest.raises(WalkError, match=r"no such release, expected one of 2\.1\.2, newest"):
        chosen((OLD, NEW), ["1.0"])

    assert 4 == main(["1.0"])
    assert capsys.readouterr().err.startswith("compat: 1.0: no such release, expected one of ")


def test_a_malformed_list_names_the_place(tmp_path: Path) -> None:
    """All faults at once."""
    path = tmp_path / "eras.toml"
    path.write_text('[[eras]]\ntorch = 2\ncuda = "12"\npackages = []\n', encoding="utf-8")

    with pytest.raises(WalkError, match=r"eras\[0\]\.torch"):
        load_eras(path)


def test_an_outcome_is_told_with_its_peaks() -> None:
    """Versions come from the report; where there is none, the release is named."""
    good = Outcome(era=OLD, passed=True, versions={"torch": "2.1.2", "cuda": "12.1"}, allocated_bytes={"test_a": 3 << 20})
    bad = Outcome(era=OLD, passed=False, versions={}, allocated_bytes={})

    assert "PASS  torch 2.1.2 cuda 12.1\n      test_a 3.0 MiB" == text_of(good)
    assert "FAIL  torch 2.1.2\n      nothing was measured" == text_of(bad)
