"""A decorator `torch.compile` that waits for the first call."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

from pytest_vramguard.recipes.late_compile import compiled_when_called

if TYPE_CHECKING:
    from collections.abc import Callable


def test_decorated_functions_are_compiled_by_their_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is compiled once, with its options, by the `torch.compile` of before."""
    compiled: list[tuple[str, dict[str, object]]] = []

    def compile_now(function: Callable[..., Any], **options: object) -> Callable[..., Any]:
        compiled.append((function.__name__, options))
        return function

    monkeypatch.setattr(torch, "compile", compile_now)
    with compiled_when_called():

        @torch.compile(dynamic=False)
        def twice(number: int) -> int:
            """Double."""
            return 2 * number

        @torch.compile
        def never() -> None:
            """Is not called."""

    before = list(compiled)
    results = twice(3), twice(4)

    assert ([], (6, 8), [("twice", {"dynamic": False})]) == (before, results, compiled)
    put_back: object = torch.compile
    assert put_back is compile_now
    assert ("twice", "Double.", "never") == (twice.__name__, twice.__doc__, never.__name__)


def test_torch_compile_is_put_back_after_a_failed_import() -> None:
    """An import that fails leaves torch as it was."""
    before = torch.compile

    with pytest.raises(ModuleNotFoundError), compiled_when_called():
        importlib.import_module("not_a_library")

    assert torch.compile is before


def test_the_stack_is_loaded_without_the_compiler() -> None:
    """What it saves: after loading the stack torch's compiler is not there."""
    load = "import sys; from pytest_vramguard.recipes import load_stack; load_stack()"
    code = f"{load}; print('torch._inductor.compile_fx' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert ran.stdout == "False\n"
