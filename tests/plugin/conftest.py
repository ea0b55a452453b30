"""The environment of runs in processes of their own."""

from __future__ import annotations

import pytest

from tests.plugin.projects import ENVIRONMENT


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give runs of pytester the same environment everywhere."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
