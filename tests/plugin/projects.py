"""Small projects on which pytest runs in a process of its own, and what came out of such a run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENVIRONMENT: Final = {
    "COLUMNS": "200",  # so that no message is cut
    "HF_HUB_OFFLINE": "1",
    # Plugins that happen to be installed beside ours; importing hypothesis takes longer than most of these runs.
    "PYTEST_ADDOPTS": "-p no:hypothesispytest -p no:anyio -p no:cov",
}
EMULATED: Final = ("--vram-device", "emulated", "--vram-json", "report.json")
ON_RTX3060: Final = ("--vram-target", "rtx3060", *EMULATED)

HOLD: Final = '''
import pytest
import torch


def hold(size_bytes):
    """Return a tensor of that many bytes on the card."""
    return torch.empty(size_bytes, dtype=torch.uint8, device="cuda")


def ask_too_much():
    """Ask the card for something that is not emulated."""
    hold(1).untyped_storage()._share_cuda_()  # hands memory to another process
'''
"""The beginning of test modules that use memory."""

_WORDS: Final = re.compile(r"(PASSED|FAILED|ERROR|XFAIL|XPASS) (?:at setup of )?\S*?::(\S+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run of pytest that has ended."""

    result: pytest.RunResult
    folder: Path
    """Where it ran."""

    @property
    def text(self) -> str:
        """Everything that was printed."""
        return "\n".join([*self.result.outlines, *self.result.errlines])

    @property
    def outcomes(self) -> dict[str, str]:
        """What pytest says of each test, as in the lines of `-rA`, by its name without the file; skipped tests have none."""
        return {found[2]: found[1] for line in self.result.outlines if (found := _WORDS.match(line))}

    @property
    def usage_errors(self) -> list[str]:
        """The lines of the message with which pytest refused to run; empty if it was not one of those clear messages."""
        lines = [line for line in self.text.splitlines() if line]
        start = next((index for index, line in enumerate(lines) if line.startswith("ERROR: ")), len(lines))
        return [line.removeprefix("ERROR: ") for line in lines[start:]]

    @property
    def is_clean_usage_error(self) -> bool:
        """Whether the status is that of a usage error, without a traceback and without a test that counts as passed."""
        wrong = [word for word in ("Traceback", "INTERNALERROR", " passed") if word in self.text]
        return self.result.ret == pytest.ExitCode.USAGE_ERROR and not wrong

    @property
    def report(self) -> dict[str, Any]:
        """The document that `--vram-json` wrote."""
        document: dict[str, Any] = json.loads((self.folder / "report.json").read_text(encoding="utf-8"))
        return document

    @property
    def cases(self) -> dict[str, dict[str, Any]]:
        """The cases of the report, by the name of the test without the file."""
        return {case["id"].partition("::")[2]: case for case in self.report["cases"]}

    @property
    def verdicts(self) -> dict[str, str]:
        """The outcome of each case, by the name of its test."""
        return {name: case["outcome"] for name, case in self.cases.items()}

    def failure_of(self, name: str) -> list[str]:
        """Return the lines that pytest prints about the failure of one test."""
        lines = self.result.outlines
        start = next(index for index, line in enumerate(lines) if re.fullmatch(rf"_+ (ERROR at setup of )?{name} _+", line)) + 1
        end = next(index for index, line in enumerate(lines) if index > start and re.match(r"___+ |===+ |---+ ", line))
        return lines[start:end]


def run_in(pytester: pytest.Pytester, *arguments: str) -> Run:
    """Run pytest on what `pytester` has made, in a process of its own."""
    return Run(result=pytester.runpytest_subprocess(*arguments), folder=pytester.path)


def run_once(folder: Path, files: Mapping[str, str], *arguments: str, timeout_seconds: float = 300) -> Run:
    """Write `files` into `folder` and run pytest there; for a run that several tests look at."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=folder,
        env={**os.environ, **ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
    result = pytest.RunResult(ended.returncode, ended.stdout.splitlines(), ended.stderr.splitlines(), duration=0.0)
    return Run(result=result, folder=folder)
