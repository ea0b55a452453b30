"""One run on the emulated card, in the environment of an era: reads an order from a file, writes what was counted to another.

    python tests/fidelity/runs/child.py ORDER.json ANSWER.json

The order names a module beside this one, a card and the settings of the run. Nothing here may need a package beyond the
training stack of the era: pytest is not installed there. It is started as a file, since some releases of bitsandbytes
install a package that is called `tests` too.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any


def answer(order: dict[str, Any]) -> dict[str, Any]:
    """Run what is ordered; the answer has `counted`, `versions`, `gaps`, `notes` and the seconds that it took."""
    from pytest_vramguard.cards import load_catalogue
    from pytest_vramguard.devices.emulated import EmulatedDevice

    started = time.monotonic()
    card = load_catalogue().find(order["card"])
    device = EmulatedDevice()
    device.enter(card)
    device.place(card)
    with device.running():
        counted = importlib.import_module(order["run"]).run(order["settings"])
    return {
        "counted": counted,
        "versions": _versions(),
        "gaps": list(device.gaps()),
        "notes": list(device.notes()),
        "seconds": round(time.monotonic() - started, 1),
    }


def _versions() -> dict[str, str]:
    """Return the versions of the libraries that the run imported."""
    names = ("torch", "transformers", "peft", "bitsandbytes", "torchvision", "lightning", "litgpt", "torchtune", "torchao")
    return {name: metadata.version(name) for name in names if name in sys.modules}


def main(order: Path, result: Path) -> None:
    """Answer one order."""
    result.write_text(json.dumps(answer(json.loads(order.read_text(encoding="utf-8")))), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
