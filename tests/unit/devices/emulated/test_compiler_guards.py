"""Guards of `torch.compile` below a dispatch mode."""

from __future__ import annotations

from typing import Any

import pytest
from torch._dynamo.guards import CheckFunctionManager
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode

from pytest_vramguard.devices.emulated import compiler_guards
from pytest_vramguard.devices.emulated.compiler_guards import guards_made_below


class Mode(TorchDispatchMode):
    """Runs every operator as it is."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator."""
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("affected", [False, True])
def test_mode_is_active_where_a_release_looks_at_it(monkeypatch: pytest.MonkeyPatch, *, affected: bool) -> None:
    """Guards are made below the mode with a release that needs it, and as ever with others and afterwards."""
    active: list[object] = []

    def make(_manager: object) -> None:
        active.append(_get_current_dispatch_mode())

    monkeypatch.setattr(CheckFunctionManager, "__init__", make)
    monkeypatch.setattr(compiler_guards, "UNAFFECTED_FROM", "99" if affected else "2")
    mode = Mode()  # type: ignore[no-untyped-call] # torch leaves it untyped

    with guards_made_below(mode):
        CheckFunctionManager()  # type: ignore[call-arg] # as made above
    CheckFunctionManager()  # type: ignore[call-arg] # as made above

    assert [mode if affected else None, None] == active
