"""A command that is killed while it accepts leaves the old baseline or the new one, whole."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from pytest_vramguard.baselines import BaselineStore
from pytest_vramguard.render import json
from tests import samples

if TYPE_CHECKING:
    from pathlib import Path

OLD: Final = samples.baseline()
NEW: Final = samples.baseline(measurement=samples.measurement(after_step_bytes=tuple(range(100)), step_count=100))
ACCEPTS: Final = """
import os, signal, sys
from pytest_vramguard import baseline_commands
from pytest_vramguard.cli import main

answers = os.fdopen(os.dup(1), "w")
sys.stdout = open(os.devnull, "w")


def accept(last_moment):
    count = 0

    def moment(*_):
        nonlocal count
        count += 1
        if count == last_moment:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(moment)
    main(["baseline", "accept", "report.json"])
    sys.setprofile(None)
    print(count, file=answers, flush=True)


for line in sys.stdin:
    child = os.fork()
    if child == 0:
        accept(int(line))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(-os.waitstatus_to_exitcode(status), file=answers, flush=True)
"""
"""Runs the command in a process of its own for each line that it reads, and prints the signal that ended it. A moment is the
beginning or the end of any call, of Python's or of C's: the process is killed at that of the number in the line. At 0 it is not
killed, and prints first how many there were."""


@pytest.mark.parametrize("kills", [50, pytest.param(500, marks=pytest.mark.long)])
def test_kill_at_any_moment(tmp_path: Path, kills: int) -> None:
    """Kills all over the command leave the old file whole up to a moment, and from there on the new one."""
    store = BaselineStore(folder=tmp_path / "vram-baselines")
    path = store.put(OLD)
    (tmp_path / "report.json").write_text(json.render(samples.report(samples.case(reading=NEW.measurement))), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-c", ACCEPTS], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write("0\n")
        server.stdin.flush()
        moments, whole_run = int(server.stdout.readline()), int(server.stdout.readline())
        store.put(OLD)
        signals, step_counts = [], []
        for number in range(kills):
            server.stdin.write(f"{1 + number * (moments - 1) // (kills - 1)}\n")
            server.stdin.flush()
            signals.append(int(server.stdout.readline()))
            step_counts.append(store.read(path).measurement.step_count)
            if step_counts[-1] == NEW.measurement.step_count:
                store.put(OLD)
        server.stdin.close()

    old, new = OLD.measurement.step_count, NEW.measurement.step_count
    assert (0, [signal.SIGKILL] * kills) == (whole_run, signals)
    assert {old, new} == set(step_counts)
    assert sorted(step_counts) == step_counts  # the old one before, the new one after
    assert store.remains()  # some were killed in the middle of a file
    assert moments > kills
