"""The environment of runs in processes of their own."""

from __future__ import annotations

import pytest

from tests.plugin.projects import ENVIRONMENT


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Return pytest's own fixture, which empties the environment, with ours."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return pytester
