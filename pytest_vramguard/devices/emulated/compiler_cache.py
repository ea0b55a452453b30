"""Has `torch.compile` begin as in a new process on a new machine.

Of the kernels that it writes it tries several on the card, between which it clears a buffer as large as the card's second-level
cache; what its own cache holds it neither compiles nor tries again. So the same code would take other blocks where an earlier
run, or an earlier test, has left something behind.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from operator import attrgetter
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDERS: Final = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
"""Variables that name a cache; the compiler sets both itself, the second to a folder in the first. Source: torch,
torch/_inductor/runtime/cache_dir_utils.py and triton_heuristics.py."""
PREFIX: Final = "torchinductor_vramguard_"
"""Begins as the compiler's own folder does, so that what lies there is known to be code that nobody wrote."""
FORGETTING: Final = (
    ("torch._dynamo", "reset"),
    ("torch._inductor.utils", "clear_inductor_caches"),  # from torch 2.4 on
    ("torch._inductor.codecache", "PyCodeCache.clear"),  # up to torch 2.2, as the next
    ("torch._inductor.codecache", "cache_dir.cache_clear"),
)
"""Modules of the compiler, each with what makes it forget."""


@contextmanager
def empty_compiler_cache() -> Iterator[None]:
    """Forget what was compiled, and keep what is compiled inside in a folder that is deleted afterwards."""
    _forget_compiled()
    former = {name: os.environ.get(name) for name in FOLDERS}
    with TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
        os.environ[FOLDERS[0]] = folder
        try:
            yield
        finally:
            for name, value in former.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            _forget_compiled()  # what it keeps alive would be left behind


def _forget_compiled() -> None:
    """Forget what was compiled in this process, as far as its compiler was loaded."""
    for module, path in FORGETTING:
        try:
            forget = attrgetter(path)(sys.modules[module])
        except (KeyError, AttributeError):
            continue  # not loaded, or of another release
        forget()
