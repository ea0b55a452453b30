"""What is installed of the training stack, found without importing any of it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

STACK = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets")
"""Packages whose version can change a number."""

ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
"""Where the allocator's settings come from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchBuild:
    """The installed build of torch."""

    version: str
    """As in `2.14.1+cu130`."""
    cuda: str | None
    """CUDA version that it was built for, as in `13.0`; None for a build without CUDA."""

    @property
    def cuda_major(self) -> int | None:
        """First number of `cuda`."""
        return int(self.cuda.split(".")[0]) if self.cuda else None


def find_torch() -> TorchBuild | None:
    """Return the installed build of torch, read from its `version.py`; None if torch is not installed."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    named = dict(re.findall(r"^(__version__|cuda)\b[^=]*= *'([^']*)'", text, flags=re.MULTILINE))
    return TorchBuild(version=named.get("__version__", "of unknown version"), cuda=named.get("cuda"))


def installed_versions() -> tuple[tuple[str, str], ...]:
    """Return name and version of each installed package of `STACK`, and of the CUDA runtime that torch was built for."""
    found = []
    for name in STACK:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    build = find_torch()
    return (*found, ("cuda", build.cuda)) if build and build.cuda else tuple(found)


def allocator_settings() -> tuple[tuple[str, str], ...]:
    """Return the settings of the caching allocator that the environment asks for, as `allocator`; nothing if there are none.

    Source: torch, c10/core/AllocatorConfig.h, which reads the first of `ALLOCATOR_VARIABLES` that is set.
    """
    asked = (os.environ.get(name) for name in ALLOCATOR_VARIABLES)
    return next(((("allocator", text),) for text in asked if text), ())
