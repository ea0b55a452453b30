"""Which line of code is said to have asked for something."""

from __future__ import annotations

import gc
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_vramguard.devices.emulated.known import places

if TYPE_CHECKING:
    from collections.abc import Callable

ASKING = """
from pytest_vramguard.devices.emulated.known.places import asking_place, asking_site

def ask(kind):
    return asking_place() if kind == "place" else asking_site()
"""
BETWEEN = """
from {below} import ask as ask_below

def ask(kind):
    return ask_below(kind)
"""


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that makes packages of these names, each of which asks through the one before it."""
    monkeypatch.chdir(tmp_path)

    def made(*names: str) -> Any:
        below = None
        for name in names:
            folder = tmp_path if name.startswith("our_") else tmp_path / "site-packages"
            folder.mkdir(exist_ok=True)
            path = folder / f"{name}.py"
            path.write_text(BETWEEN.format(below=below) if below else ASKING, encoding="utf-8")
            module = ModuleType(name)
            monkeypatch.setitem(sys.modules, name, module)
            exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)  # noqa: S102 (our own text)
            below = name
        return sys.modules[names[-1]].ask

    return made


def test_the_users_line_is_the_innermost_of_no_library(chain: Any) -> None:
    """Torch and the libraries above it are passed over, and the innermost of these is told too."""
    site = chain("torch", "bitsandbytes", "transformers", "our_loop", "our_script")("site")

    assert ("our_loop.py:5", "return ask_below(kind)", "site-packages/bitsandbytes.py:5") == (
        site.line.text,
        site.line.code,
        site.via.text,
    )


def test_a_user_who_asks_torch_has_no_library_between(chain: Any) -> None:
    """Torch itself is no library that waits on somebody's behalf."""
    site = chain("torch", "our_loop")("site")

    assert ("our_loop.py:5", None) == (site.line.text, site.via)


def test_a_line_may_be_one_of_a_library(chain: Any) -> None:
    """What was read without being known is told with the innermost line, whoever wrote it."""
    assert "site-packages/transformers.py:5" == chain("torch", "transformers", "our_loop")("place")


def test_a_file_elsewhere_is_told_with_its_folder() -> None:
    """A path outside of the current folder is shortened to the folder and the name."""
    assert "pytest_vramguard/reading.py:7" == places.Line(file="/nowhere/pytest_vramguard/reading.py", number=7).text


def test_a_line_that_cannot_be_read_has_no_code() -> None:
    """Code that was made up at run time has no source."""
    assert None is places.Line(file="<string>", number=1).code


def test_a_thread_without_user_code_works_for_the_main_thread(chain: Any) -> None:
    """A backward pass runs in a thread of torch: the line is that where the main thread waits, here in this file."""
    with ThreadPoolExecutor(1) as threads:
        site = threads.submit(chain("torch", "bitsandbytes"), "site").result()

    assert ("test_places.py", "site-packages/bitsandbytes.py:5") == (Path(site.line.file).name, site.via.text)


def test_no_frame_is_kept(chain: Any) -> None:
    """What the asking functions hold dies with them: a frame that kept itself would keep every tensor below it."""
    ask = chain("torch", "our_loop")

    class Held:
        """Something that can be watched."""

    def asking() -> weakref.ref[Held]:
        held = Held()
        ask("site")
        ask("place")
        return weakref.ref(held)

    gc.disable()
    try:
        assert None is asking()()
    finally:
        gc.enable()
