"""`vramguard run` puts every Python process below any command on an emulated card, and judges each."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.stack]

BIN = Path(sys.executable).parent


def python(code: str = "") -> tuple[str, ...]:
    """Return the command that runs the training script and then `code`."""
    return (sys.executable, "train.py", code)


def test_script_is_measured_unchanged(vramguard: Any) -> None:
    """A script has peaks, phases by its optimizer's steps, and parts that sum to the peak."""
    ended = vramguard(*python())
    (case,) = ended.cases
    reading = case["reading"]

    assert (0, "PASS", "emulated") == (ended.status, case["outcome"], case["device"]["kind"])
    assert ["until the first optimizer step", "optimizer", "first step", "steady"] == list(reading["phases"])
    assert reading["peak_allocated_bytes"] == sum(reading["parts"].values())
    assert 4 * 2**20 == reading["parts"]["weights"]


@pytest.mark.long
def test_the_same_peak_twice(vramguard: Any) -> None:
    """Two runs of one command agree to the byte."""
    first, second = (vramguard(*python()).cases[0]["reading"] for _ in range(2))

    assert first == second


@pytest.mark.long
def test_processes_below_a_shell_are_found(vramguard: Any) -> None:
    """A shell script that starts two trainings has two results."""
    ended = vramguard("sh", "-c", f"{sys.executable} train.py; {sys.executable} train.py")

    assert ["PASS", "PASS"] == [case["outcome"] for case in ended.cases]


@pytest.mark.long
def test_launcher_is_no_case(vramguard: Any) -> None:
    """Torchrun imports torch but uses no card; its rank does, and is named."""
    ended = vramguard(str(BIN / "torchrun"), "--nproc_per_node=1", "train.py")
    (case,) = ended.cases

    assert (0, "PASS") == (ended.status, case["outcome"])
    assert case["id"].endswith("[rank-0-local-0-process-1]")


@pytest.mark.long
def test_accelerate_launch(vramguard: Any) -> None:
    """`accelerate launch` of a plain loop is one case."""
    ended = vramguard(str(BIN / "accelerate"), "launch", "--num_processes=1", "--mixed_precision=no", "train.py")

    assert (0, ["PASS"]) == (ended.status, [case["outcome"] for case in ended.cases])


@pytest.mark.long
def test_full_card(vramguard: Any) -> None:
    """An out-of-memory that ends the script is a failed gate with PyTorch's words, and exit status 1."""
    ended = vramguard(*python("torch.empty(20 * 2**30, dtype=torch.uint8, device='cuda')"))
    (case,) = ended.cases

    assert (1, "FAIL", "out_of_memory") == (ended.status, case["outcome"], case["reading"]["kind"])
    assert case["reading"]["message"].startswith("CUDA out of memory. Tried to allocate 20.00 GiB.")


def test_limit_of_the_command_line(vramguard: Any) -> None:
    """`--max-gb` fails a peak above it."""
    ended = vramguard(*python(), options=("--target", "rtx3060", "--max-gb", "0.1"))

    assert 1 == ended.status
    assert "over the 0.10 GiB of max_gb" in ended.text


def test_a_failed_process_leaves_a_snapshot(vramguard: Any, tmp_path: Path) -> None:
    """`--artifacts` keeps what the allocator of a failed process did, and nothing of one that passed."""
    large = 'torch.empty(2**30, dtype=torch.uint8, device="cuda")'
    both = f"{sys.executable} train.py; {sys.executable} train.py '{large}'"
    ended = vramguard("sh", "-c", both, options=("--target", "rtx3060", "--max-gb", "0.5", "--artifacts", "left"))
    kept = {case["outcome"]: case["snapshot"] for case in ended.cases}
    snapshot = pickle.loads(Path(kept["FAIL"]).read_bytes())  # noqa: S301 (our own)

    assert (None, [Path(kept["FAIL"])]) == (kept["PASS"], list((tmp_path / "left").iterdir()))
    assert 2**30 in {event["size"] for event in snapshot["device_traces"][0] if event["action"] == "alloc"}
    assert f"snapshot for pytorch.org/memory_viz: {kept['FAIL']}" in ended.text


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("torch.zeros(1, device='cuda').untyped_storage()._share_cuda_()", "emulation does not cover cudaIpcGetMemHandle"),
        (
            "try: torch.zeros(1, device='cuda').untyped_storage()._share_cuda_()\nexcept RuntimeError: pass",
            "emulation does not cover",
        ),
        ("(torch.rand(8, device='cuda') > 0.5).nonzero()", "data-dependent: nonzero at "),
    ],
)
def test_what_is_not_emulated_is_not_green(vramguard: Any, code: str, reason: str) -> None:
    """A refused function, also one whose error was swallowed, and a shape by unknown values leave the case unjudged."""
    ended = vramguard(*python(code))

    assert 0 != ended.status
    assert "UNJUDGED" == ended.cases[0]["outcome"]
    assert reason in ended.cases[0]["reading"]["reason"]


def test_the_command_keeps_its_own_status(vramguard: Any) -> None:
    """A script that ends with a status of its own passes it on, whatever was measured."""
    assert 7 == vramguard(*python("sys.exit(7)")).status


def test_error_of_the_script_itself(vramguard: Any) -> None:
    """An exception that has nothing to do with the card is shown as always and not judged."""
    ended = vramguard(*python("raise ValueError('mine')"))

    assert 1 == ended.status
    assert "Traceback" in ended.text
    assert "the process ended with ValueError: mine" == ended.cases[0]["reading"]["reason"]


def test_killed_process_is_missed(vramguard: Any) -> None:
    """A process that is killed leaves no numbers, and that is said."""
    ended = vramguard(*python("import os; os.kill(os.getpid(), 9)"))

    assert 128 + 9 == ended.status
    assert "the process was killed before it could say what it measured" == ended.cases[0]["reading"]["reason"]


def test_a_command_without_a_card_is_not_green(vramguard: Any) -> None:
    """Where nothing used a card there was nothing to judge."""
    ended = vramguard(sys.executable, "-c", "print('no torch')")

    assert 1 == ended.status
    assert "no process of the command used a CUDA card" == ended.cases[0]["reading"]["reason"]


@pytest.mark.parametrize(
    ("listed", "seen"), [("", "0 False"), ("-1", "0 False"), ("0", "1 True"), ("0,1", "1 True"), ("1,0", "0 False")]
)
def test_hidden_card(vramguard: Any, listed: str, seen: str) -> None:
    """A script that is left no card by CUDA_VISIBLE_DEVICES sees none, as on real hardware."""
    code = "import torch; print(torch._C._cuda_getDeviceCount(), torch.cuda.is_available())"

    assert vramguard(sys.executable, "-c", code, CUDA_VISIBLE_DEVICES=listed).text.startswith(f"{seen}\n")


def test_torch_without_cuda(vramguard: Any, tmp_path: Path) -> None:
    """A build of torch without CUDA in the command's environment is named."""
    package = tmp_path / "other" / "torch"
    package.mkdir(parents=True)
    package.joinpath("__init__.py").touch()
    package.joinpath("version.py").write_text("__version__ = '2.14.1+cpu'\ncuda = None\n", encoding="utf-8")

    ended = vramguard(sys.executable, "-c", "import torch", PYTHONPATH=str(package.parent))

    assert 1 == ended.status
    assert "torch 2.14.1+cpu: a build without CUDA, expected CUDA 12 or 13" in ended.cases[0]["reading"]["reason"]


@pytest.mark.long
def test_sitecustomize_of_the_environment_still_runs(vramguard: Any, tmp_path: Path) -> None:
    """A sitecustomize of the user's own is not lost."""
    tmp_path.joinpath("own").mkdir()
    tmp_path.joinpath("own", "sitecustomize.py").write_text("print('own sitecustomize')\n", encoding="utf-8")

    assert "own sitecustomize" in vramguard(*python(), PYTHONPATH=str(tmp_path / "own")).text


@pytest.mark.parametrize(
    ("options", "command", "message"),
    [
        (("--target", "rtx9999"), ("true",), "card 'rtx9999': not in the catalogue"),
        (("--target", "rtx3060"), ("no-such-program",), "command 'no-such-program': not found"),
        (("--target", "rtx3060"), (), "no command, expected one behind two dashes"),
        (("--target", "rtx3060,t4"), ("true",), "got 2 cards, expected one"),
        ((), ("true",), "got 0 cards, expected one"),
        (("--target", "rtx3060", "--max-gb", "0"), ("true",), "expected a number above 0"),
        (("--target", "rtx3060", "--band", "0.9", "0.7"), ("true",), "0 <= low < high <= 1"),
    ],
)
def test_bad_usage(vramguard: Any, options: tuple[str, ...], command: tuple[str, ...], message: str) -> None:
    """A wrong command line is one line and exit status 4, and nothing is run."""
    ended = vramguard(*command, options=options)

    assert 4 == ended.status
    assert message in ended.text
    assert "Traceback" not in ended.text
    assert [] == ended.cases


def is_alive(process_id: str) -> bool:
    """Return whether a process runs; one that has ended has no command line, also where nobody asks for its status."""
    command_line = Path("/proc", process_id, "cmdline")
    return command_line.exists() and command_line.read_bytes() != b""


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_ends_everything_below(tmp_path: Path, number: int) -> None:
    """Ctrl-C or a termination ends the whole tree; what was under way is not judged, and the status says why."""
    script = "import os, time, torch; torch.ones(1).cuda(); open(f'started-{os.getpid()}', 'x'); time.sleep(600)"
    tmp_path.joinpath("train.py").write_text(script, encoding="utf-8")
    shell = f"{sys.executable} train.py & {sys.executable} train.py; wait"
    command = [str(BIN / "vramguard"), "run", "--target", "rtx3060", "--json", "report.json", "--", "sh", "-c", shell]

    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        while len(started := list(tmp_path.glob("started-*"))) < 2 and process.poll() is None:
            time.sleep(0.05)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)

        assert 128 + number == process.wait(timeout=60)
    assert [] == [path.name for path in started if is_alive(path.name.removeprefix("started-"))]
    cases = json.loads(tmp_path.joinpath("report.json").read_text(encoding="utf-8"))["cases"]
    assert ["interrupted before the process had ended"] * 2 == [case["reading"]["reason"] for case in cases]
