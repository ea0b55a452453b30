"""In a project without vram tests the plugin costs next to nothing."""

from __future__ import annotations

import json
from typing import Final

import pytest

from tests.plugin.projects import run_in

# A plugin that is loaded before ours: lets no process start, and writes down what was imported when the run has ended.
WATCH: Final = """
import json
import subprocess
import sys
from pathlib import Path


class NoProcess:
    def __init__(self, *arguments, **keywords):
        raise RuntimeError(f"a process was started: {arguments}")


subprocess.Popen = NoProcess


def pytest_unconfigure():
    Path(__file__).with_name("modules.json").write_text(json.dumps(sorted(sys.modules)))
"""
HEAVY: Final = {"torch", "transformers", "peft", "bitsandbytes", "pynvml", "accelerate", "datasets", "numpy", "ctypes"}
DOOR: Final = {
    "pytest_vramguard",
    "pytest_vramguard.errors",
    "pytest_vramguard.plugin",
    "pytest_vramguard.plugin.options",
    "pytest_vramguard.plugin.reports",
}
RESOLVING: Final = {
    "pytest_vramguard.allowance",
    "pytest_vramguard.plugin.cases",
    "pytest_vramguard.settings",
    "pytest_vramguard.settings.keys",
    "pytest_vramguard.settings.settings",
    "pytest_vramguard.settings.wishes",
    "pytest_vramguard.tables",
    "pytest_vramguard.units",
}


@pytest.mark.parametrize("arguments", [("--collect-only",), ()], ids=["collected", "run"])
@pytest.mark.parametrize(
    ("pyproject", "ours"),
    [("[tool.other]\n", DOOR), ("[tool.vramguard]\nsteps = 2", DOOR | RESOLVING)],
    ids=["silent", "asking"],
)
def test_a_project_without_vram_tests_pays_for_the_door_alone(
    pytester: pytest.Pytester, arguments: tuple[str, ...], pyproject: str, ours: set[str]
) -> None:
    """Other tests import no heavy library, and of ours the door, with the settings if there are any; no process is started."""
    pytester.makepyfile(watch=WATCH, test_plain="def test_a(): pass\ndef test_b(): assert False")
    pytester.makepyprojecttoml(pyproject)

    run = run_in(pytester, "-p", "watch", *arguments)
    modules = set(json.loads((run.folder / "modules.json").read_text(encoding="utf-8")))

    assert run.result.ret in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}
    assert set() == modules & HEAVY
    assert ours == {module for module in modules if module.partition(".")[0] == "pytest_vramguard"}
