"""Runs `vramguard run` in a folder of its own, and reads its report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BIN = Path(sys.executable).parent
TRAIN = """
import sys
import torch

model = torch.nn.Linear(1024, 1024, bias=False).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    model(torch.randn(64, 1024, device="cuda")).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
exec(sys.argv[1] if len(sys.argv) > 1 else "")
"""
"""A training script that knows nothing of emulation; its argument is executed at the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A run that has ended."""

    status: int
    text: str
    cases: list[dict[str, Any]]
    """Those of the report; empty if none was written."""


@pytest.fixture
def vramguard(tmp_path: Path) -> Any:
    """Return a function that runs `vramguard run` in a folder with the training script."""
    tmp_path.joinpath("train.py").write_text(TRAIN, encoding="utf-8")

    def run(*command: str, options: tuple[str, ...] = ("--target", "rtx3060"), **environment: str) -> Ended:
        started = [str(BIN / "vramguard"), "run", *options, "--json", "report.json", "--", *command]
        ended = subprocess.run(
            started, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
        report = tmp_path / "report.json"
        cases = json.loads(report.read_text(encoding="utf-8"))["cases"] if report.exists() else []
        return Ended(status=ended.returncode, text=ended.stdout + ended.stderr, cases=cases)

    return run
