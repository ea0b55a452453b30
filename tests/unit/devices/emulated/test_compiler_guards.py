"""Guards of `torch.compile` below a dispatch mode."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._dynamo.guards import CheckFunctionManager
from torch.torch_version import TorchVersion
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode

from pytest_vramguard.devices.emulated.compiler_guards import guards_made_below


class Mode(TorchDispatchMode):
    """Runs every operator as it is."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator."""
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("release", "affected"), [("2.2.2", True), ("2.9.1+cu128", True), ("2.10.0", False), ("2.14.1", False)]
)
def test_mode_is_active_where_a_release_looks_at_it(monkeypatch: pytest.MonkeyPatch, release: str, *, affected: bool) -> None:
    """Guards are made below the mode with a release that needs it, and as ever with others and afterwards."""
    active: list[object] = []

    def make(_manager: object) -> None:
        active.append(_get_current_dispatch_mode())

    monkeypatch.setattr(CheckFunctionManager, "__init__", make)
    monkeypatch.setattr(torch, "__version__", TorchVersion(release))
    mode = Mode()  # type: ignore[no-untyped-call] # torch leaves it untyped

    with guards_made_below(mode):
        CheckFunctionManager()  # type: ignore[call-arg] # as made above
    CheckFunctionManager()  # type: ignore[call-arg] # as made above

    assert [mode if affected else None, None] == active
