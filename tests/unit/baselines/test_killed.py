"""A process that is killed while it accepts leaves the old baseline or the new one, whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from pytest_vramguard.baselines import BaselineStore
from tests import samples

if TYPE_CHECKING:
    from pathlib import Path

KILLS: Final = 200
OLD: Final = samples.baseline()
NEW: Final = samples.baseline(measurement=samples.measurement(after_step_bytes=tuple(range(20_000)), step_count=20_000))
ACCEPTS: Final = """
import os, sys
from pathlib import Path
from pytest_vramguard.baselines import BaselineStore
from tests.unit.baselines.test_killed import NEW, OLD
store = BaselineStore(folder=Path(sys.argv[1]))
while True:
    child = os.fork()
    if child == 0:
        while True:
            store.put(NEW)
            store.put(OLD)
    print(child, flush=True)
    if not sys.stdin.readline():
        os._exit(0)
    os.waitpid(child, 0)
"""
"""Starts, for each line that it reads, a process that replaces one baseline by another without end, and prints its number."""


def test_kill_at_any_moment(tmp_path: Path) -> None:
    """After each of `KILLS` kills at random moments the file is there and is one of the two."""
    store = BaselineStore(folder=tmp_path)
    path = store.put(OLD)
    seen = {OLD.measurement.step_count: 0, NEW.measurement.step_count: 0}
    moment = random.Random(5)  # noqa: S311 (no secret)
    with subprocess.Popen(
        [sys.executable, "-c", ACCEPTS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        for _ in range(KILLS):
            child = int(parent.stdout.readline())
            time.sleep(moment.uniform(0, 0.06))
            os.kill(child, signal.SIGKILL)
            parent.stdin.write("\n")
            parent.stdin.flush()
            seen[store.read(path).measurement.step_count] += 1
        last = int(parent.stdout.readline())
        os.kill(last, signal.SIGKILL)
        parent.stdin.close()

    assert KILLS == sum(seen.values())
    assert min(seen.values()) > 0
    assert store.remains()  # some were killed in the middle of a file
