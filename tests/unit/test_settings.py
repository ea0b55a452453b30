"""Tests of the settings: who is stronger, what each place may say, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_vramguard.allowance import PhaseLimit, parse_allowance, parse_allowances, parse_count_allowance
from pytest_vramguard.errors import SettingsError
from pytest_vramguard.settings import (
    COMMAND_KEYS,
    MARKER_KEYS,
    PROJECT_KEYS,
    Settings,
    Wishes,
    limits_of,
    resolve,
    split_targets,
    wishes_of_ini,
    wishes_of_mapping,
    wishes_of_marker,
    wishes_of_project,
)
from pytest_vramguard.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path("/project")
EVERYTHING: dict[str, Any] = {
    "targets": ("t4",),
    "device": "cuda",
    "json_path": Path("report.json"),
    "steps": 5,
    "warmup": 0,
    "max_gb": 12.0,
    "band": (0.7, 0.9),
    "phases": (PhaseLimit(phase="load", max_bytes=10 * GIB), PhaseLimit(phase="first step", max_bytes=512 * MIB)),
    "min_seq_len": 1400,
    "min_batch_size": 4,
    "cards": (Path("cards.toml"),),
    "max_growth": parse_allowances("1%+8MiB"),
    "max_shrink": parse_allowances("device=64MiB"),
    "max_creep_bytes": 65536,
    "max_slowdown": 0.1,
    "job_spread": 0.025,
    "max_syncs": 2,
    "max_driver_allocations": 1,
    "max_launches_growth": parse_count_allowance("1%+10"),
    "max_syncs_growth": parse_count_allowance("1"),
    "max_copied_growth": parse_allowance("1%+64KiB"),
    "max_flops_growth": parse_count_allowance("0.5%"),
    "baselines": Path("ours"),
    "require_baseline": True,
    "accept": True,
    "artifacts": Path("left"),
}
"""A value for every field, none of them a default."""


def read(mapping: Mapping[str, object], known: tuple[str, ...] = PROJECT_KEYS) -> Wishes:
    """Return the wishes in `mapping`, as if it came from `a.toml`."""
    return wishes_of_mapping(mapping, "a.toml", known, ROOT)


def faults(mapping: Mapping[str, object], known: tuple[str, ...] = PROJECT_KEYS) -> list[str]:
    """Return what is wrong with `mapping`."""
    with pytest.raises(SettingsError) as caught:
        read(mapping, known)
    return str(caught.value).splitlines()


class TestResolve:
    """Which of several wishes holds."""

    def test_nothing_asked_for_leaves_the_defaults(self) -> None:
        """Settings without wishes are the defaults."""
        assert Settings() == resolve()
        assert Settings() == resolve(Wishes(), Wishes())

    @pytest.mark.parametrize("field", EVERYTHING)
    def test_a_wish_replaces_the_default(self, field: str) -> None:
        """Each field can be asked for by itself."""
        wished = resolve(Wishes(**{field: EVERYTHING[field]}))

        assert Settings(**{field: EVERYTHING[field]}) == wished
        assert Settings() != wished

    def test_the_first_wish_is_the_strongest(self) -> None:
        """Where two places ask, the former one holds, field by field."""
        assert Settings(steps=1, warmup=4) == resolve(Wishes(steps=1), Wishes(steps=2, warmup=4), Wishes(warmup=5))

    def test_a_value_that_counts_as_false_is_a_wish(self) -> None:
        """A warm-up of zero steps is asked for, and hides a weaker wish."""
        assert Settings(warmup=0) == resolve(Wishes(warmup=0), Wishes(warmup=4))


class TestSites:
    """Whether lines that allocate are recorded."""

    @pytest.mark.parametrize("field", ["max_growth", "max_shrink", "max_creep_bytes", "accept"])
    def test_what_names_lines_has_them_recorded(self, field: str) -> None:
        """A gate that compares, one of creep that is asked for, and a baseline to be, want them, each by itself."""
        assert Settings(**{field: EVERYTHING[field]}).wants_sites

    def test_what_names_none_has_none_recorded(self) -> None:
        """Without these nothing is recorded, whatever else is asked for."""
        others = {field: EVERYTHING[field] for field in ("max_gb", "band", "baselines", "require_baseline", "artifacts")}

        assert not Settings(**others).wants_sites

    def test_no_creep_at_all_is_a_wish(self) -> None:
        """A creep gate of 0 bytes is asked for."""
        assert Settings(max_creep_bytes=0).wants_sites


def test_limits_are_written_as_they_were() -> None:
    """What a case allows beside what it was can be read again from its text."""
    settings = resolve(read({"max_growth": "1%+8MiB, device=0", "max_slowdown": "2.5%"}))

    assert (("max_growth", "allocated=1%+8MiB, device=0"), ("max_slowdown", "2.5%")) == limits_of(settings)
    assert settings == resolve(read(dict(limits_of(settings))))


class TestMapping:
    """What a mapping of keys is read into."""

    def test_every_key_is_read(self) -> None:
        """The keys of a project become the wishes of the same meaning, with paths below the root."""
        mapping = {
            "target": "t4",
            "device": "cuda",
            "json": "report.json",
            "steps": 5,
            "warmup": 0,
            "max_gb": 12,
            "band": [0.7, 0.9],
            "phases": {"load": "10GB", "first step": "512MiB"},
            "min_seq_len": 1400,
            "min_batch_size": 4,
            "cards": ["cards.toml"],
            "max_growth": "1%+8MiB",
            "max_shrink": "device=64MiB",
            "max_creep": "64KiB",
            "max_slowdown": "10%",
            "job_spread": "2.5 %",
            "max_syncs": 2,
            "max_driver_allocations": 1,
            "max_launches_growth": "1%+10",
            "max_syncs_growth": "1",
            "max_copied_growth": "1%+64KiB",
            "max_flops_growth": "0.5%",
            "baselines": "ours",
            "require_baseline": True,
            "accept": True,
            "artifacts": "left",
        }
        paths = {
            "json_path": ROOT / "report.json",
            "cards": (ROOT / "cards.toml",),
            "baselines": ROOT / "ours",
            "artifacts": ROOT / "left",
        }

        assert set(COMMAND_KEYS) == set(mapping)
        assert Wishes(**{**EVERYTHING, **paths}) == read(mapping, COMMAND_KEYS)

    def test_nothing_said_is_no_wish(self) -> None:
        """An empty mapping, and one whose values are None, ask for nothing."""
        assert Wishes() == read({})
        assert Wishes() == read(dict.fromkeys(PROJECT_KEYS))

    @pytest.mark.parametrize(
        ("said", "targets"),
        [
            ("t4", ("t4",)),
            ("rtx3060, t4", ("rtx3060", "t4")),
            (["rtx3060", "t4"], ("rtx3060", "t4")),
            (("t4",), ("t4",)),
        ],
    )
    def test_targets_are_text_or_a_list(self, said: object, targets: tuple[str, ...]) -> None:
        """A text is split at its commas, a list is taken as it is."""
        assert targets == read({"target": said}).targets

    def test_an_absolute_path_stays_as_it_is(self) -> None:
        """The root is where relative paths begin."""
        assert Path("/elsewhere/report.json") == read({"json": "/elsewhere/report.json"}).json_path

    @pytest.mark.parametrize(
        ("mapping", "fault"),
        [
            ({"steps": 0}, "steps: got 0 (int), expected an integer of at least 1"),
            ({"steps": True}, "steps: got True (bool), expected an integer of at least 1"),
            ({"warmup": -1}, "warmup: got -1 (int), expected an integer of at least 0"),
            ({"max_gb": 0}, "max_gb: got 0 (int), expected a number above 0"),
            ({"max_gb": "12"}, "max_gb: got '12' (str), expected a number above 0"),
            ({"max_gb": float("inf")}, "max_gb: got inf (float), expected a number above 0"),
            ({"device": "gpu"}, "device: got 'gpu' (str), expected one of 'auto', 'cuda', 'emulated'"),
            ({"json": ""}, "json: got '' (str), expected a non-empty string"),
            ({"target": ""}, "target: got '' (str), expected a non-empty string"),
            ({"target": 3060}, "target: got 3060 (int), expected a list of strings"),
            ({"target": [3060]}, "target[0]: got 3060 (int), expected a non-empty string"),
            ({"cards": "cards.toml"}, "cards: got 'cards.toml' (str), expected a list of strings"),
            ({"accept": True}, f"accept: unknown key, expected one of {', '.join(PROJECT_KEYS)}"),
            ({"require_baseline": "yes"}, "require_baseline: got 'yes' (str), expected true or false"),
            ({"max_shrink": 1}, "max_shrink: got 1 (int), expected a non-empty string"),
            ({"max_growth": "a=1%"}, "max_growth: got a limit for 'a', expected one for allocated, reserved, device"),
            ({"max_syncs": -1}, "max_syncs: got -1 (int), expected an integer of at least 0"),
            (
                {"max_syncs_growth": "64KiB"},
                "max_syncs_growth: got '64KiB', expected a share, a number or both, as in '1%', '10' or '1%+10'",
            ),
            (
                {"max_copied_growth": "10"},
                "max_copied_growth: got '10', expected a share, a size or both, as in '1%', '64MiB' or '1%+8MiB'",
            ),
            ({"max_creep": "1%"}, "max_creep: got '1%', expected a size, as in '64KiB', '1.5GiB' or '0'"),
            ({"max_slowdown": "64MiB"}, "max_slowdown: got '64MiB', expected a share, as in '10%'"),
            ({"job_spread": "-1%"}, "job_spread: got '-1%', expected a share, as in '10%'"),
        ],
    )
    def test_a_wrong_value_is_a_fault(self, mapping: dict[str, object], fault: str) -> None:
        """The message names the place, what was found and what was expected."""
        assert [f"a.toml: {fault}"] == faults(mapping)

    @pytest.mark.parametrize("band", [(0, 1), (0.7, 0.9), [0.0, 0.5], (0.999, 1)])
    def test_a_band_lies_between_0_and_1(self, band: object) -> None:
        """Both ends may be reached."""
        assert tuple(band) == read({"band": band}).band  # type: ignore[arg-type]  # each of them is a pair

    @pytest.mark.parametrize("band", [(-0.1, 0.9), (0.9, 0.7), (0.7, 0.7), (0.7, 1.1), (70, 90)])
    def test_a_band_outside_0_to_1_or_reversed_is_a_fault(self, band: tuple[float, float]) -> None:
        """The lower end must be below the upper one, and both must be shares of 1."""
        message = f"a.toml: band: got {band}, expected (low, high) with 0 <= low < high <= 1, as in (0.7, 0.9)"

        assert [message] == faults({"band": band})

    def test_a_band_of_other_things_than_two_numbers_is_told_once(self) -> None:
        """What is no pair of numbers is not compared as well."""
        assert ["a.toml: band[1]: got 'high' (str), expected a number"] == faults({"band": (2, "high")})

    def test_faulty_limits_of_phases_are_located(self) -> None:
        """Each names its phase, and what a size looks like."""
        assert [
            "a.toml: phases.eval: got '12MB', expected a size, as in '10GB' or '512MiB'; write KiB, MiB or GiB",
            "a.toml: phases.'first step': got 3 (int), expected a non-empty string",
        ] == faults({"phases": {"eval": "12MB", "first step": 3}})
        assert ["a.toml: phases: got '10GB' (str), expected a table"] == faults({"phases": "10GB"})

    def test_an_empty_table_of_phases_drops_the_limits_of_the_project(self) -> None:
        """It says that there are none, which is stronger than a weaker place that says some."""
        assert () == resolve(read({"phases": {}}), read({"phases": {"load": "1GB"}})).phases

    def test_every_fault_is_told_at_once(self) -> None:
        """Unknown keys and wrong values come in one error, a line each."""
        assert [
            f"a.toml: max_bg: unknown key, expected one of {', '.join(MARKER_KEYS)}; did you mean 'max_gb'?",
            "a.toml: steps: got 0 (int), expected an integer of at least 1",
        ] == faults({"max_bg": 1, "steps": 0}, MARKER_KEYS)

    def test_a_marker_may_not_choose_the_device(self) -> None:
        """The device is that of the whole run, so the marker has no such key."""
        assert [f"a.toml: device: unknown key, expected one of {', '.join(MARKER_KEYS)}"] == faults(
            {"device": "cuda"}, MARKER_KEYS
        )


class TestIni:
    """What is read from pytest's ini options, which are texts."""

    def test_numbers_become_numbers(self) -> None:
        """Texts of digits are read as numbers where a number is expected, and nowhere else."""
        texts = {"target": "3060", "device": "cuda", "json": "7", "steps": "5", "warmup": "0", "max_syncs": "0"}

        expected = Wishes(targets=("3060",), device="cuda", json_path=ROOT / "7", steps=5, warmup=0, max_syncs=0)
        assert expected == wishes_of_ini(texts, ROOT)

    @pytest.mark.parametrize("text", [None, ""])
    def test_an_option_that_is_not_set_says_nothing(self, text: str | None) -> None:
        """An option without a value leaves it to weaker places."""
        assert Wishes() == wishes_of_ini({"target": text, "steps": text}, ROOT)

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("many", "ini: vram: steps: got 'many' (str), expected an integer of at least 1"),
            ("-1", "ini: vram: steps: got '-1' (str), expected an integer of at least 1"),
            ("0", "ini: vram: steps: got 0 (int), expected an integer of at least 1"),
        ],
    )
    def test_a_text_that_is_no_such_number_is_a_fault(self, text: str, fault: str) -> None:
        """The message shows what was written."""
        with pytest.raises(SettingsError) as caught:
            wishes_of_ini({"steps": text}, ROOT)

        assert fault == str(caught.value)


class TestMarker:
    """What is read from the marker."""

    def test_keywords_are_read(self) -> None:
        """The keywords of a marker become the wishes of the same meaning."""
        assert Wishes(max_gb=12.0, band=(0.7, 0.9)) == wishes_of_marker((), {"max_gb": 12, "band": (0.7, 0.9)}, ROOT)

    def test_a_positional_argument_is_a_fault(self) -> None:
        """Nobody can tell what a number alone would mean, so the message lists the keywords."""
        with pytest.raises(SettingsError) as caught:
            wishes_of_marker((12,), {}, ROOT)

        assert f"marker vram: got the positional argument 12, expected keywords: {', '.join(MARKER_KEYS)}" == str(caught.value)


class TestProject:
    """What is read from a `pyproject.toml`."""

    def test_without_a_file_there_are_no_wishes(self, tmp_path: Path) -> None:
        """A project need not have the file."""
        assert Wishes() == wishes_of_project(tmp_path / "pyproject.toml")

    @pytest.mark.parametrize("text", ["", "[tool.other]\nsteps = 0", "[build-system"])
    def test_without_the_table_there_are_no_wishes(self, tmp_path: Path, text: str) -> None:
        """A file that does not name the plugin is not parsed."""
        path = tmp_path / "pyproject.toml"
        path.write_text(text, encoding="utf-8")

        assert Wishes() == wishes_of_project(path)

    @pytest.mark.parametrize(
        "text",
        ["[tool.vramguard]\nsteps = 5", "[tool]\nvramguard.steps = 5", "tool = { vramguard = { steps = 5 } }"],
    )
    def test_the_table_is_read_however_it_is_written(self, tmp_path: Path, text: str) -> None:
        """TOML has several ways to write a table of a table."""
        path = tmp_path / "pyproject.toml"
        path.write_text(text, encoding="utf-8")

        assert Wishes(steps=5) == wishes_of_project(path)

    def test_paths_begin_beside_the_file(self, tmp_path: Path) -> None:
        """A relative path is below the folder of the file."""
        path = tmp_path / "pyproject.toml"
        path.write_text('[tool.vramguard]\njson = "out/report.json"', encoding="utf-8")

        assert tmp_path / "out" / "report.json" == wishes_of_project(path).json_path

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"[tool]\nvramguard = 3", "pyproject.toml: tool.vramguard: got 3 (int), expected a table"),
            (
                b"[tool.vramguard]\nstep = 3",
                "pyproject.toml: tool.vramguard.step: unknown key, "
                f"expected one of {', '.join(PROJECT_KEYS)}; did you mean 'steps'?",
            ),
            (
                b"[tool.vramguard\n",
                "pyproject.toml: malformed: Expected ']' at the end of a table declaration (at line 1, column 16)",
            ),
            (
                b"# vramguard \xff",
                "pyproject.toml: cannot be read: 'utf-8' codec can't decode byte 0xff in position 12: invalid start byte, "
                "expected a UTF-8 text file",
            ),
        ],
        ids=["no table", "unknown key", "malformed", "not UTF-8"],
    )
    def test_a_faulty_file_is_an_error(self, tmp_path: Path, content: bytes, message: str) -> None:
        """The message names the file and the key in it."""
        path = tmp_path / "pyproject.toml"
        path.write_bytes(content)

        with pytest.raises(SettingsError) as caught:
            wishes_of_project(path)

        assert message == str(caught.value)


@pytest.mark.parametrize(
    ("text", "targets"),
    [("t4", ("t4",)), ("rtx3060,t4", ("rtx3060", "t4")), (" rtx3060 , t4 ,", ("rtx3060", "t4")), (",", ())],
)
def test_a_text_of_targets_is_split_at_commas(text: str, targets: tuple[str, ...]) -> None:
    """Spaces around a target and empty places between commas do not count."""
    assert targets == split_targets(text)
