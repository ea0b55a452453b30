"""A baseline as a file comes back as it went in, and whatever is not one is refused with the place."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vramguard.baseline import Baseline
from pytest_vramguard.baselines.file import read_baseline, render_baseline, write_baseline
from pytest_vramguard.errors import BaselineError
from pytest_vramguard.reading import Measurement, Parts, PhasePeak, StepSample
from tests import samples

if TYPE_CHECKING:
    from pathlib import Path

SIZES = st.integers(0, 2**50)
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
SECONDS = st.floats(0, 1e6)


@st.composite
def measurements(draw: st.DrawFn) -> Measurement:
    """Return any measurement whose numbers agree with each other."""
    parts = draw(st.builds(Parts, weights_bytes=SIZES, gradients_bytes=SIZES, activations_bytes=SIZES, other_bytes=SIZES))
    names = draw(st.lists(TEXTS, unique=True, max_size=3))
    within = st.integers(0, parts.total_bytes)
    return Measurement(
        peak_allocated_bytes=parts.total_bytes,
        peak_reserved_bytes=draw(SIZES),
        context_bytes=draw(SIZES),
        parts=parts,
        phases=tuple(
            PhasePeak(
                name=name,
                peak_allocated_bytes=draw(within),
                peak_reserved_bytes=draw(SIZES),
                peak_device_bytes=draw(SIZES),
            )
            for name in names
        ),
        steps=draw(st.lists(st.builds(StepSample, host_seconds=SECONDS, device_seconds=SECONDS), max_size=3).map(tuple)),
        step_count=draw(st.integers(0, 9)),
        after_step_bytes=draw(st.lists(SIZES, max_size=5).map(tuple)),
        notes=draw(st.lists(TEXTS, max_size=2).map(tuple)),
    )


BASELINES = st.builds(
    Baseline,
    case=TEXTS,
    target=TEXTS,
    environment=st.dictionaries(TEXTS, TEXTS, max_size=3).map(lambda more: (("device", "d"), ("gpu", "g"), *more.items())),
    measurement=measurements(),
    tool=TEXTS,
).map(lambda baseline: replace(baseline, environment=tuple(dict(baseline.environment).items())))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a baseline is, in a folder that is not there yet."""
    return tmp_path / "rtx3060" / "emulated" / "case.json"


@pytest.fixture
def written(path: Path) -> Path:
    """Return where the sample is."""
    write_baseline(samples.baseline(), path)
    return path


@given(baseline=BASELINES)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(path: Path, baseline: Baseline) -> None:
    """Every baseline comes back equal, whatever was there before."""
    write_baseline(baseline, path)

    assert (baseline, baseline.tool) == (read_baseline(path), read_baseline(path).tool)
    assert [path] == list(path.parent.iterdir())


def test_the_text_is_made_to_be_read_in_a_diff() -> None:
    """The file begins with schema and case, has one value a line, and ends with a newline."""
    lines = render_baseline(samples.baseline()).split("\n")

    assert ["{", '  "schema": 1,', '  "tool": "pytest-vramguard 0.1.0",'] == lines[:3]
    assert '  "case": "tests/test_fit.py::test_7b_nf4[rtx3060]",' == lines[3]
    assert '      "weights": 3758096384,' in lines
    assert ["}", ""] == lines[-2:]


def test_a_baseline_from_before_origins_is_read(written: Path) -> None:
    """A file that an older version wrote has no origins, and is a baseline."""
    document = json.loads(written.read_text(encoding="utf-8"))
    del document["measurement"]["origins"]
    written.write_text(json.dumps(document), encoding="utf-8")

    assert samples.baseline() == read_baseline(written)


def test_origins_are_made_to_be_read_in_a_diff(path: Path) -> None:
    """Each module is a line, and each site a few: its line, its code, the library's line and its bytes."""
    write_baseline(samples.baseline(measurement=samples.measurement(origins=samples.origins())), path)
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]

    assert '"model.layers.*.mlp": 419430400,' in lines
    assert [
        '"line": "train.py:41 in loss_of",',
        '"code": "return f(logits)",',
        '"library": "torch/nn/functional.py:9 in f",',
        '"bytes": 67108864',
    ] == lines[lines.index('"line": "train.py:41 in loss_of",') :][:4]


def edited(path: Path, **values: Any) -> None:
    """Replace values of the file; a key `a__b` is that of a table inside."""
    document = json.loads(path.read_text(encoding="utf-8"))
    for key, value in values.items():
        *tables, last = key.split("__")
        table = document
        for name in tables:
            table = table[name]
        table[last] = value
    path.write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"schema": 2}, "schema: got 2, expected at most 1; next step: upgrade pytest-vramguard"),
        ({"schema": "1"}, "schema: got '1' (str), expected an integer of at least 1"),
        ({"case": None}, "case: missing, expected a non-empty string"),
        ({"environment": []}, "environment: got [] (list), expected a table"),
        ({"environment__gpu": None}, "environment.gpu: missing, expected a non-empty string"),
        ({"measurement": None}, "measurement: missing, expected a table"),
        (
            {"measurement__peak_reserved_bytes": -1},
            "measurement.peak_reserved_bytes: got -1 (int), expected an integer of at least 0",
        ),
        (
            {"measurement__peak_allocated_bytes": 4898947073},
            "measurement.parts: got a sum of 4898947072, expected peak_allocated_bytes, 4898947073",
        ),
        (
            {"measurement__phases__load__peak_allocated_bytes": 4898947073},
            "measurement.phases.load: got a peak_allocated_bytes of 4898947073, expected at most that of the case, 4898947072",
        ),
    ],
)
def test_what_is_edited_to_nonsense_is_refused(written: Path, values: dict[str, Any], fault: str) -> None:
    """A newer schema, missing and wrong values, and numbers that contradict each other are told with their place."""
    edited(written, **values)

    with pytest.raises(BaselineError) as caught:
        read_baseline(written)

    assert fault == str(caught.value).splitlines()[0].removeprefix(f"{written}: ")


def test_every_truncation_is_refused(written: Path) -> None:
    """A file that ends early is never read as a baseline, wherever it ends; the newline at its end alone may be missing."""
    whole = written.read_text(encoding="utf-8")

    for length in range(0, len(whole) - 1, 7):
        written.write_text(whole[:length], encoding="utf-8")
        with pytest.raises(BaselineError, match=r"case\.json: malformed: "):
            read_baseline(written)


def test_a_file_from_before_work_was_counted(written: Path) -> None:
    """A baseline of a version that did not count is read, and says that nothing was counted."""
    document = json.loads(written.read_text(encoding="utf-8"))
    del document["measurement"]["work"]
    written.write_text(json.dumps(document), encoding="utf-8")

    assert None is read_baseline(written).measurement.work


def test_a_file_that_is_not_there(path: Path) -> None:
    """A file that cannot be read is told with the reason."""
    with pytest.raises(
        BaselineError, match=r"case\.json: cannot be read: No such file or directory, expected a UTF-8 text file"
    ):
        read_baseline(path)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    """A place that cannot be written is told with the next step."""
    (tmp_path / "rtx3060").write_text("", encoding="utf-8")

    with pytest.raises(BaselineError, match=r"expected to write the baseline there; correct the folder or its permissions$"):
        write_baseline(samples.baseline(), tmp_path / "rtx3060" / "case.json")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(written: Path) -> None:
    """Without write permission the old file stays as it is."""
    written.parent.chmod(0o500)

    with pytest.raises(BaselineError, match="Permission denied"):
        write_baseline(samples.baseline(target="t4"), written)
    written.parent.chmod(0o700)

    assert samples.baseline() == read_baseline(written)
