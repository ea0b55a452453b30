"""What every Python process below `vramguard run` executes first: wait for torch, then measure.

The folder of this file stands first on `PYTHONPATH`, so Python imports it at start-up, in whatever environment the process has.
It must therefore import nothing that is not in the standard library, and cost nothing where torch is never imported.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types

PACKAGE_VARIABLE = "VRAMGUARD_PACKAGE"
"""Environment variable with the folder that holds the package `pytest_vramguard`; see `launch.py`."""
RANKS_VARIABLE = "VRAMGUARD_RANKS"
"""Environment variable that is set where only some ranks of a distributed command are run; see `ranks.py`."""
OWN_FOLDER = os.path.dirname(os.path.abspath(__file__))
LENT = ("pytest_vramguard", "pynvml")
"""Packages that the process may not have, and gets from where `vramguard` is installed."""


class LentPackages(importlib.abc.MetaPathFinder):
    """Finds the lent packages, and nothing else, in the environment of `vramguard`; asked last."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Return where a lent package is."""
        return importlib.machinery.PathFinder.find_spec(name, [os.environ[PACKAGE_VARIABLE]]) if name in LENT else None


class TorchWatcher(importlib.abc.MetaPathFinder):
    """Asked first; lets torch be imported as always, and calls the meter when that has happened."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of torch with a loader that tells when it has loaded.

        Libraries ask for it too, only to learn whether torch is installed, so this goes on to be asked.
        """
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec("torch")
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = TellingLoader(spec.loader.name, spec.loader.path)
        return spec


class TellingLoader(importlib.machinery.SourceFileLoader):
    """Loads a module as always, then begins to watch for its use of a card."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Execute the module."""
        super().exec_module(module)
        from pytest_vramguard.run.process import torch_imported

        torch_imported()


def import_hidden_sitecustomize() -> None:
    """Import the `sitecustomize` that this file hides, if the environment has one."""
    others = [folder for folder in sys.path if os.path.abspath(folder) != OWN_FOLDER]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def leave_unless_run() -> None:
    """End this process at once, and well, if it is a rank that nobody wants to be run."""
    from pytest_vramguard.run.ranks import place_in

    place = place_in(os.environ)
    if place is not None and place.rank not in place.present:
        os._exit(0)


if PACKAGE_VARIABLE in os.environ:
    sys.meta_path.insert(0, TorchWatcher())
    sys.meta_path.append(LentPackages())
    if RANKS_VARIABLE in os.environ and "RANK" in os.environ:
        leave_unless_run()
import_hidden_sitecustomize()
