"""Where baselines lie, and what is found there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_vramguard.baselines import BaselineStore
from pytest_vramguard.baselines.store import file_name
from pytest_vramguard.errors import BaselineError
from pytest_vramguard.gates import NoBaseline
from tests import samples

if TYPE_CHECKING:
    from pathlib import Path

CASE = samples.baseline().case


@pytest.fixture
def store(tmp_path: Path) -> BaselineStore:
    """Return an empty store."""
    return BaselineStore(folder=tmp_path / "vram-baselines")


def test_a_baseline_lies_below_its_target_and_device(store: BaselineStore) -> None:
    """The path names target, kind of device and case, and what was put there is found."""
    path = store.put(samples.baseline())

    assert "rtx3060/emulated/tests.test_fit.py-test_7b_nf4-rtx3060-31d67c7e.json" == path.relative_to(store.folder).as_posix()
    assert samples.baseline() == store.find(CASE, "rtx3060", "emulated")
    assert (path,) == store.paths()


@pytest.mark.parametrize(("target", "device"), [("t4", "emulated"), ("rtx3060", "cuda")])
def test_other_targets_and_devices_have_their_own(store: BaselineStore, target: str, device: str) -> None:
    """The baseline of a card is none for another, and that of an emulated card none for a real one."""
    store.put(samples.baseline())

    assert store.find(CASE, target, device) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [("test_a.py::test[a/b]", "test_a.py::test[a.b]"), ("test_a.py::Test", "test_a.py::test"), ("x" * 300, "x" * 301)],
)
def test_like_ids_have_different_files(one: str, other: str) -> None:
    """Ids that look alike, or alike in lower case, or are too long for a file system, do not share a file."""
    assert file_name(one).lower() != file_name(other).lower()
    assert max(len(file_name(one)), len(file_name(other))) <= 120


@pytest.mark.parametrize("case", ["../../etc/passwd", "/etc/passwd", "..", ".hidden", "a\\b:c*?", "\N{SNOWMAN}"])
def test_no_id_leads_out_of_the_folder(store: BaselineStore, case: str) -> None:
    """Whatever a test is called, its file lies in the folder of its device and is no hidden one."""
    path = store.path_of(case, "rtx3060", "emulated")

    assert store.folder / "rtx3060" / "emulated" == path.parent.resolve()
    assert not path.name.startswith(".")


@pytest.mark.parametrize("required", [False, True])
def test_a_missing_baseline_says_where_it_belongs(store: BaselineStore, required: bool) -> None:  # noqa: FBT001 (a parameter)
    """The reference is then a reason, with the path and the next step, which is red where a baseline is required."""
    reference = store.reference(CASE, "rtx3060", "emulated", required=required)
    path = store.path_of(CASE, "rtx3060", "emulated")

    assert (
        NoBaseline(reason=f"no baseline in {path}; next step: accept one with pytest --vram-accept", required=required)
        == reference
    )


def test_a_faulty_baseline_is_not_a_missing_one(store: BaselineStore) -> None:
    """A file that cannot be read is always red, with its place."""
    path = store.put(samples.baseline())
    path.write_text("{", encoding="utf-8")

    reference = store.reference(CASE, "rtx3060", "emulated", required=False)

    assert isinstance(reference, NoBaseline)
    assert reference.required
    assert reference.reason.startswith(f"{path}: malformed: ")


def test_a_baseline_that_was_moved_is_refused(store: BaselineStore) -> None:
    """A file copied from an emulated card's folder into a real one's is not taken for a measurement of that."""
    path = store.put(samples.baseline())
    copy = store.path_of(CASE, "rtx3060", "cuda")
    copy.parent.mkdir(parents=True)
    path.rename(copy)

    with pytest.raises(BaselineError) as caught:
        store.find(CASE, "rtx3060", "cuda")

    assert f"{copy}: holds {CASE} on rtx3060 (emulated), expected that in {path}; move it" == str(caught.value)
