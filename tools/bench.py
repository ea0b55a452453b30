"""Print what the plugin costs: time and host memory of the 7B example, and what it adds to a run without vram tests.

    make bench

Every figure is a median of several runs, with the runs beside it, and is compared with the most that we allow ourselves.
Nothing fails here: times on a shared machine are for people to judge, so the test suite asserts none.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import Final

ROOT: Final = Path(__file__).parents[1]
RECIPE: Final = ROOT / "examples/recipes/llama2-7b-qlora.toml"
PLUGIN: Final = "pytest_vramguard.plugin"
PYTEST: Final = ("-m", "pytest", "-p", "no:cacheprovider")
COLD_RUNS: Final = 3
FURTHER_CASES: Final = 3
PAIRS: Final = 15
"""Paired runs with and without the plugin, taken in turn, so that a slow minute of the machine hits both."""
IMPORTS: Final = 9
WARM_STEPS: Final = 3
TIMED_STEPS: Final = 9

VRAM_TESTS: Final = f"""
import pytest

@pytest.mark.parametrize("number", range({1 + FURTHER_CASES}))
def test_7b_nf4(vram, number):
    vram.train({str(RECIPE)!r})
"""
LARGE_TESTS: Final = f"""
import pytest

@pytest.mark.vram(target="a6000")
def test_qlora(vram):
    vram.train({str(RECIPE)!r}, model={{"pretrained_model_name_or_path": "meta-llama/Llama-2-70b-hf"}})

@pytest.mark.vram(target="h100-80")
def test_fsdp(vram):
    vram.train(
        {str(RECIPE)!r},
        model={{"pretrained_model_name_or_path": "meta-llama/Llama-3.1-70B"}},
        quantization=None,
        peft=None,
        training={{"optim": "adamw_torch", "fsdp": True, "fsdp_config": {{"version": 2}}}},
        distributed={{"world_size": 64}},
    )
"""
"""Recipes of 70 billion parameters: on one card, and as one of 64 ranks that train all of them."""
CONFTEST: Final = """
import pathlib, sys, time

sys.modules["scipy"] = None  # of the extra [stats]; transformers imports it where it is there

def pytest_runtest_logfinish():
    with pathlib.Path("costs.txt").open("a") as lines:
        lines.write(f"{time.perf_counter()} {time.process_time()}\\n")
"""
"""Leaves out what the extra [train] does not bring, and notes both clocks after each test."""
PLAIN_TESTS: Final = "".join(f"def test_{number}(): pass\n" for number in range(20))
IMPORT: Final = """
import time, pytest
begin = time.process_time()
import pytest_vramguard.plugin
print(time.process_time() - begin)
"""
STACK: Final = """
import sys
sys.modules["scipy"] = None
import torch, bitsandbytes, peft
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments
"""
"""What the libraries themselves take, without any code of ours: shows how fast the machine is just now."""
STEPS: Final = f"""
import sys, time
from contextlib import nullcontext

emulated = sys.argv[1] == "cuda"
if emulated:
    from pytest_vramguard.cards import load_catalogue
    from pytest_vramguard.devices.emulated import EmulatedDevice

    card = EmulatedDevice()
    card.enter(load_catalogue(()).find("a100-80"))
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM, LlamaConfig

with torch.device(sys.argv[1]):
    config = LlamaConfig(use_cache=False, dtype="bfloat16")
    model = get_peft_model(LlamaForCausalLM._from_config(config), LoraConfig(target_modules=["q_proj", "v_proj"]))
    ids = torch.ones(1, 512, dtype=torch.long)
    mask = torch.ones(1, 1, 512, 512, dtype=torch.bool).tril()  # given, since making one reads values, which meta tensors lack
model.gradient_checkpointing_enable(dict(use_reentrant=False))
model.train()
optimizer = torch.optim.AdamW(parameter for parameter in model.parameters() if parameter.requires_grad)
with card.running() if emulated else nullcontext():
    for _ in range({WARM_STEPS} + {TIMED_STEPS}):
        begin = time.process_time()
        model(input_ids=ids, attention_mask=mask, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(time.process_time() - begin)
"""
"""A 7B model in 16 bits with LoRA, on the emulated card or on tensors without memory: what a step costs the processor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One line of the result."""

    name: str
    runs: tuple[float, ...]
    unit: str
    most: float | None = None
    """What we allow ourselves, in `unit`; None where nothing was promised."""

    def __str__(self) -> str:
        """Return the median, its share of what is allowed, and the runs."""
        middle = median(self.runs)
        share = "" if self.most is None else f"{middle / self.most:6.2f} of {self.most:g} {self.unit}"
        runs = " ".join(f"{run:.2f}" for run in sorted(self.runs))
        return f"{self.name:<54}{middle:9.2f} {self.unit:<4}{share:<20}runs: {runs}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one process cost."""

    wall_seconds: float
    """From start to exit."""
    cpu_seconds: float
    """Of user and system; hardly changes with what else the machine does."""
    peak_gib: float
    """Peak of resident host memory, with the pages of shared libraries that were touched."""


def run(folder: Path, *arguments: str) -> Cost:
    """Run Python in `folder`; ends the benchmark if it fails."""
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(arguments)}: exit status {process.returncode}; run it in {folder} to see why")
    return Cost(
        wall_seconds=time.perf_counter() - begin,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_gib=usage.ru_maxrss / 2**20,
    )


def project(folder: Path, **files: str) -> Path:
    """Write Python files into a new folder and return it."""
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.py").write_text(dedent(text), encoding="utf-8")
    return folder


def cold_figures(folder: Path) -> list[Figure]:
    """Return time and host memory of a run with one 7B case, each in a new process, and in turn with what the stack takes."""
    test = (*PYTEST, "-p", PLUGIN, "--vram-target", "rtx3060", "test_vram.py::test_7b_nf4[0]")
    pairs = [(run(folder, *test), run(folder, "-c", STACK)) for _ in range(COLD_RUNS)]
    costs = [cost for cost, _ in pairs]
    ratios = tuple(cost.cpu_seconds / stack.cpu_seconds for cost, stack in pairs)
    return [
        Figure(name="7B nf4, process from start to exit", runs=tuple(cost.wall_seconds for cost in costs), unit="s", most=15),
        Figure(name="  of which processor time", runs=tuple(cost.cpu_seconds for cost in costs), unit="s"),
        Figure(name="  of a process that only imports the stack", runs=ratios, unit="x"),
        Figure(name="  peak of host memory", runs=tuple(cost.peak_gib for cost in costs), unit="GiB", most=2),
    ]


def further_figures(folder: Path) -> list[Figure]:
    """Return the time of each case on the same model after the first in one process: set-up, run and tear-down."""
    costs = folder / "costs.txt"
    costs.unlink(missing_ok=True)
    run(folder, *PYTEST, "-p", PLUGIN, "--vram-target", "rtx3060")
    stamps = [tuple(map(float, line.split())) for line in costs.read_text(encoding="utf-8").splitlines()]
    walls, cpus = ([after - before for before, after in pairwise(clock)] for clock in zip(*stamps, strict=True))
    return [
        Figure(name="7B nf4, each further case", runs=tuple(walls), unit="s", most=5),
        Figure(name="  of which processor time", runs=tuple(cpus), unit="s"),
    ]


def large_figures(folder: Path, test: str, *, name: str, most_seconds: float, most_gib: float) -> list[Figure]:
    """Return time and host memory of one large case, in a new process."""
    cost = run(folder, *PYTEST, "-p", PLUGIN, "--vram-device", "emulated", test)
    return [
        Figure(name=name, runs=(cost.wall_seconds,), unit="s", most=most_seconds),
        Figure(name="  peak of host memory", runs=(cost.peak_gib,), unit="GiB", most=most_gib),
    ]


def collection_figures(folder: Path) -> list[Figure]:
    """Return what the plugin adds to `pytest --co` in a project without vram tests, by runs in pairs and by the fastest runs.

    The run to compare with loads an empty plugin, since pytest itself takes milliseconds to look up what `-p` names.
    """
    collect = (*PYTEST, "--co", "-q", "-p")
    pairs = [(run(folder, *collect, PLUGIN), run(folder, *collect, "empty")) for _ in range(PAIRS + 1)]
    more, less = (
        [1000 * cost.cpu_seconds for cost in costs[1:]] for costs in zip(*pairs, strict=True)
    )  # the first write bytecode
    added = tuple(with_plugin - without for with_plugin, without in zip(more, less, strict=True))
    return [
        Figure(name="pytest --co without vram tests, added processor time", runs=added, unit="ms", most=10),
        Figure(name="  by the fastest run with and without", runs=(min(more) - min(less),), unit="ms", most=10),
    ]


def step_figures() -> list[Figure]:
    """Return what a step costs on the emulated card, known values included, and how many times that of one on meta tensors."""
    seconds = {device: step_seconds(device) for device in ("cuda", "meta")}
    ratios = tuple(one / other for one, other in zip(seconds["cuda"], seconds["meta"], strict=True))
    return [
        Figure(name="7B bf16, step on the emulated card, processor time", runs=seconds["cuda"], unit="s"),
        Figure(name="  of the same step on meta tensors", runs=ratios, unit="x", most=1.3),
    ]


def step_seconds(device: str) -> tuple[float, ...]:
    """Return the processor time of each timed step on `device`."""
    printed = subprocess.run([sys.executable, "-c", STEPS, device], check=True, capture_output=True, text=True).stdout
    return tuple(map(float, printed.split()[WARM_STEPS:]))


def import_figure() -> Figure:
    """Return the time of importing the plugin where pytest is imported already."""
    printed = [
        subprocess.run([sys.executable, "-c", IMPORT], check=True, capture_output=True, text=True) for _ in range(IMPORTS)
    ]
    return Figure(
        name="import pytest_vramguard.plugin, processor time",
        runs=tuple(1000 * float(each.stdout) for each in printed),
        unit="ms",
    )


def main() -> None:
    """Print every figure as soon as it is there."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # those of the development extra are not what is measured
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # who installs a package has its bytecode
    load = os.getloadavg()[0]
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f} (above 0.5 the times say little)",
        flush=True,
    )
    with TemporaryDirectory(prefix="vramguard-bench-") as scratch:
        plain = project(Path(scratch, "plain"), test_plain=PLAIN_TESTS, empty="")
        vram = project(Path(scratch, "vram"), test_vram=VRAM_TESTS, conftest=CONFTEST)
        print(import_figure(), flush=True)
        print(*collection_figures(plain), sep="\n", flush=True)
        print(*step_figures(), sep="\n", flush=True)
        print(*cold_figures(vram), sep="\n", flush=True)
        print(*further_figures(vram), sep="\n", flush=True)
        large = project(Path(scratch, "large"), test_large=LARGE_TESTS)
        qlora, fsdp = "test_large.py::test_qlora", "test_large.py::test_fsdp"
        print(*large_figures(large, qlora, name="70B nf4, one card", most_seconds=60, most_gib=2.5), sep="\n", flush=True)
        print(*large_figures(large, fsdp, name="70B FSDP2, one of 64 ranks", most_seconds=90, most_gib=6), sep="\n", flush=True)


if __name__ == "__main__":
    main()
