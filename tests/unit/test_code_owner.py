"""Whose code a file is."""

from __future__ import annotations

import json

import pytest

from pytest_vramguard import code_owner, reading


@pytest.mark.parametrize(
    ("filename", "owner"),
    [
        ("/opt/env/lib/python3.11/site-packages/torch/nn/functional.py", "torch"),
        ("/opt/env/lib/python3.11/site-packages/typing_extensions.py", "torch"),
        ("/opt/env/lib/python3.11/site-packages/torchtune/config.py", "library"),
        ("/opt/env/lib/python3.11/site-packages/trl/trainer.py", "library"),
        (pytest.__file__, "library"),
        (reading.__file__, "ours"),
        (json.__file__, "python"),
        ("<string>", "python"),
        ("", "python"),
        ("/var/cache/torchinductor_somebody/ab/cab.py", "python"),
        ("/home/somebody/project/train.py", "user"),
    ],
)
def test_whose_code_a_file_is(filename: str, owner: str) -> None:
    """The user's files are those that no package, no standard library and no part of this package holds."""
    assert owner == code_owner.owner_of(filename)


def test_path_in_the_package() -> None:
    """A file of a package is told by the path that every environment has."""
    assert "trl/trainer.py" == code_owner.installed_path("/opt/env/lib/python3.11/site-packages/trl/trainer.py")
    assert None is code_owner.installed_path("/home/somebody/project/train.py")
