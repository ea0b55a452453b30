"""The rules of the house, as tests: who may import whom, how long a file or function may be, what an import may cost."""

from __future__ import annotations

import ast
import json
import pkgutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final, TypeAlias

import pytest
from importlinter.cli import lint_imports

import pytest_vramguard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = ROOT / "pytest_vramguard"
HEAVY: Final = ("accelerate", "bitsandbytes", "datasets", "peft", "pynvml", "torch", "transformers")
"""What only devices, meter and recipes import, and they only when a case begins."""
MOST_LINES_OF_A_FILE: Final = 350
MOST_LINES_OF_A_FUNCTION: Final = 60
MOST_LINES_OF_A_MEDIAN_FUNCTION: Final = 10


def python_files(*folders: str) -> list[Path]:
    """Return the Python files in `folders` of the repository."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def named(paths: Iterable[Path]) -> dict[str, Path]:
    """Return `paths` by their name in the repository."""
    return {path.relative_to(ROOT).as_posix(): path for path in paths}


def functions(path: Path) -> Iterator[Function]:
    """Yield the functions of a file, methods and nested ones included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def line_count(function: Function) -> int:
    """Return the lines from `def` to the end, docstring included, decorators not."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def light_modules() -> list[str]:
    """Return the modules of the package that must be importable without the training stack.

    `run.process` is imported by a process that has torch already.
    """
    found = pkgutil.walk_packages([str(PACKAGE)], "pytest_vramguard.", onerror=lambda _name: None)
    rooms = tuple(f"pytest_vramguard.{room}" for room in ("devices", "meter", "recipes", "run.process"))
    return ["pytest_vramguard", *(module.name for module in found if not module.name.startswith(rooms))]


def run_python(code: str) -> str:
    """Run `code` in a process of its own and return what it printed."""
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert run.returncode == 0, run.stderr

    return run.stdout


def test_layers_are_kept(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every import-linter contract of pyproject.toml is kept; the output names the import that breaks one."""
    monkeypatch.chdir(ROOT)

    status = lint_imports(no_cache=True)

    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", named(python_files("pytest_vramguard", "examples", "tools")))
def test_file_is_short(name: str) -> None:
    """A file that outgrows the limit has two subjects; test files grow with their cases and are left alone."""
    lines = (ROOT / name).read_text(encoding="utf-8").count("\n")

    assert lines <= MOST_LINES_OF_A_FILE


@pytest.mark.parametrize("name", named(python_files("pytest_vramguard", "examples", "tests", "tools")))
def test_functions_are_short(name: str) -> None:
    """No function is longer than a screen."""
    long = {function.name: line_count(function) for function in functions(ROOT / name)}

    assert {name: lines for name, lines in long.items() if lines > MOST_LINES_OF_A_FUNCTION} == {}


def test_median_function_is_small() -> None:
    """Half of the functions of the package are at most ten lines long."""
    lengths = [line_count(function) for path in python_files("pytest_vramguard") for function in functions(path)]

    assert median(lengths) <= MOST_LINES_OF_A_MEDIAN_FUNCTION


@pytest.mark.parametrize("name", named(python_files("examples", "tests")))
def test_tests_say_what_they_show(name: str) -> None:
    """Every test has a docstring that is a sentence."""
    tests = [function for function in functions(ROOT / name) if function.name.startswith("test_")]
    mute = [test.name for test in tests if not (ast.get_docstring(test) or "").split("\n")[0].endswith(".")]

    assert mute == []


def test_package_is_importable_without_the_training_stack() -> None:
    """Each module outside devices, meter and recipes is imported where nothing of the training stack can be."""
    code = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({HEAVY!r}))  # None makes an import fail
for name in {light_modules()!r}:
    importlib.import_module(name)
print("all")
"""
    assert run_python(code) == "all\n"


def test_import_of_the_plugin_is_light() -> None:
    """Importing the plugin, which every run of pytest does, imports none of the heavy libraries."""
    code = f"""
import json, sys
import pytest_vramguard.plugin
print(json.dumps(sorted(set({HEAVY!r}) & set(sys.modules))))
"""
    assert json.loads(run_python(code)) == []


def test_version_is_that_of_the_installed_package() -> None:
    """The version in the source and the one in pyproject.toml are the same; a stale install shows here too."""
    assert version("pytest-vramguard") == pytest_vramguard.__version__
