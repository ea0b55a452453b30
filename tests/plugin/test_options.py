"""Command line over marker over ini over `[tool.vramguard]` over default, for every option."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from pytest_vramguard.plugin.options import INI, OPTIONS
from pytest_vramguard.settings import MARKER_KEYS, WORK_KEYS
from pytest_vramguard.units import KIB
from tests.plugin.projects import run_in

# Writes what holds for each test into settings.json when collection has ended; nothing runs.
CONFTEST = """
import dataclasses
import json
from pathlib import Path


def pytest_collection_finish(session):
    cases = session.config.pluginmanager.get_plugin("vramguard-cases")
    settings = {item.name: dataclasses.asdict(cases.settings_of(item)) for item in session.items}
    Path(__file__).with_name("settings.json").write_text(json.dumps(settings, default=str))
"""
MODULE = """
import pytest


def test_plain():
    pass


@pytest.mark.vram(target="v100-16", steps=21, warmup=22, max_gb=23, band=(0.2, 0.3), max_creep="24KiB")
def test_marked():
    pass
"""
COMMAND_LINE: Final = (
    *("--vram-target", "t4", "--vram-device", "emulated", "--vram-json", "command_line.json"),
    *("--vram-steps", "11", "--vram-warmup", "12", "--vram-accept", "--vram-artifacts", "left"),
)
INI_FILE = """
[pytest]
vram_target = l4
vram_device = cuda
vram_json = ini.json
vram_steps = 31
vram_warmup = 32
vram_max_creep = 33KiB
vram_baselines = ini
vram_artifacts = ini_left
vram_require_baseline = true
"""
PROJECT = """
[tool.vramguard]
target = ["a10g"]
device = "emulated"
json = "project.json"
steps = 41
warmup = 42
max_gb = 43
band = [0.4, 0.5]
max_creep = "44KiB"
baselines = "project"
artifacts = "project_left"
require_baseline = false
cards = ["more.toml"]
"""
DEFAULTS: Final[dict[str, Any]] = {
    "targets": [],
    "device": "auto",
    "json_path": None,
    "steps": 2,
    "warmup": 1,
    "max_gb": None,
    "band": None,
    "cards": [],
    "max_growth": [],
    "max_shrink": [],
    "max_creep_bytes": None,
    "max_slowdown": None,
    "job_spread": 0.26,
    "phases": [],
    "min_seq_len": None,
    "min_batch_size": None,
    **dict.fromkeys(WORK_KEYS),
    "baselines": "vram-baselines",
    "require_baseline": False,
    "accept": False,
    "artifacts": None,
}


def settings(pytester: pytest.Pytester, *arguments: str, ini: str = "", project: str = "") -> dict[str, dict[str, Any]]:
    """Return the settings of each test, paths without the folder of the project."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_options=MODULE)
    pytester.makefile(".ini", pytest=ini or "[pytest]")
    pytester.makepyprojecttoml(project)
    pytester.makefile(".toml", more="")
    run = run_in(pytester, "--collect-only", *arguments)
    assert pytest.ExitCode.OK == run.result.ret
    text = (pytester.path / "settings.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, Any]] = json.loads(text.replace(f"{pytester.path}/", ""))
    return found


def test_without_options_there_are_defaults(pytester: pytest.Pytester) -> None:
    """What nobody asks for has its default, and a marker stands above that."""
    found = settings(pytester)

    assert found["test_plain"] == DEFAULTS
    assert found["test_marked"] == {
        **DEFAULTS,
        "targets": ["v100-16"],
        "steps": 21,
        "warmup": 22,
        "max_gb": 23,
        "band": [0.2, 0.3],
        "max_creep_bytes": 24 * KIB,
    }


@pytest.mark.stack
def test_the_table_in_pyproject_is_stronger_than_the_default(pytester: pytest.Pytester) -> None:
    """Every key of `[tool.vramguard]` counts where nothing else is said."""
    found = settings(pytester, project=PROJECT)

    assert found["test_plain"] == {
        **DEFAULTS,
        "targets": ["a10g"],
        "device": "emulated",
        "json_path": "project.json",
        "steps": 41,
        "warmup": 42,
        "max_gb": 43,
        "band": [0.4, 0.5],
        "cards": ["more.toml"],
        "max_creep_bytes": 44 * KIB,
        "baselines": "project",
        "artifacts": "project_left",
        "require_baseline": False,
    }


@pytest.mark.stack
def test_ini_is_stronger_than_the_table_in_pyproject(pytester: pytest.Pytester) -> None:
    """Every ini option counts before the key of the same name, and is not hidden by an option that is not given."""
    found = settings(pytester, ini=INI_FILE, project=PROJECT)

    assert found["test_plain"] == {
        **DEFAULTS,
        "targets": ["l4"],
        "device": "cuda",
        "json_path": "ini.json",
        "steps": 31,
        "warmup": 32,
        "max_gb": 43,
        "band": [0.4, 0.5],
        "cards": ["more.toml"],
        "max_creep_bytes": 33 * KIB,
        "baselines": "ini",
        "artifacts": "ini_left",
        "require_baseline": True,
    }


@pytest.mark.stack
def test_the_marker_is_stronger_than_ini(pytester: pytest.Pytester) -> None:
    """Every argument of the marker counts before ini and `[tool.vramguard]`."""
    found = settings(pytester, ini=INI_FILE, project=PROJECT)

    assert found["test_marked"] == {
        **DEFAULTS,
        "targets": ["v100-16"],
        "device": "cuda",
        "json_path": "ini.json",
        "steps": 21,
        "warmup": 22,
        "max_gb": 23,
        "band": [0.2, 0.3],
        "cards": ["more.toml"],
        "max_creep_bytes": 24 * KIB,
        "baselines": "ini",
        "artifacts": "ini_left",
        "require_baseline": True,
    }


@pytest.mark.stack
def test_the_command_line_is_stronger_than_everything(pytester: pytest.Pytester) -> None:
    """Every option counts before marker, ini and `[tool.vramguard]`; what has no option is left to them."""
    found = settings(pytester, *COMMAND_LINE, ini=INI_FILE, project=PROJECT)
    told: dict[str, Any] = {
        "targets": ["t4"],
        "device": "emulated",
        "json_path": "command_line.json",
        "steps": 11,
        "warmup": 12,
    }

    told |= {"accept": True, "artifacts": "left", "cards": ["more.toml"], "baselines": "ini", "require_baseline": True}
    plain = {"max_gb": 43, "band": [0.4, 0.5], "max_creep_bytes": 33 * KIB}
    marked = {"max_gb": 23, "band": [0.2, 0.3], "max_creep_bytes": 24 * KIB}

    assert found["test_plain"] == {**DEFAULTS, **told, **plain}
    assert found["test_marked"] == {**DEFAULTS, **told, **marked}


def test_paths_begin_where_they_are_written(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path on the command line begins in the folder that pytest was started from, one in a file at the root."""
    monkeypatch.chdir(pytester.mkdir("below"))

    by_ini = settings(pytester, "--rootdir", "..", "..", ini="[pytest]\nvram_json = there.json")
    by_command_line = settings(pytester, "--rootdir", "..", "..", "--vram-json", "here.json")

    assert "there.json" == by_ini["test_plain"]["json_path"]
    assert "below/here.json" == by_command_line["test_plain"]["json_path"]


def test_help_describes_every_option(pytester: pytest.Pytester) -> None:
    """The help of pytest names each option and its ini twin, and `--markers` the marker."""
    run = run_in(pytester, "--help")
    markers = run_in(pytester, "--markers")

    assert [name for name in OPTIONS if f"--vram-{name}" not in run.text] == []
    assert [name for name in INI if f"vram_{name} " not in run.text] == []
    assert f"@pytest.mark.vram({'=None, '.join(MARKER_KEYS)}=None): measure " in markers.text
