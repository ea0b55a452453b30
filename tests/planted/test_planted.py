"""Regressions planted in tiny cases: each is caught by the right gate, blamed on the right part, and silent without it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_vramguard.units import MIB
from tests.plugin.projects import ON_RTX3060, Run, run_once

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.stack, pytest.mark.long]

RECIPE: Final = """
[model]
pretrained_model_name_or_path = "planted/tiny-llama"
dtype = "bfloat16"

[model.config]
architectures = ["LlamaForCausalLM"]
model_type = "llama"
hidden_size = 512
intermediate_size = 2048
num_hidden_layers = 4
num_attention_heads = 8
num_key_value_heads = 8
vocab_size = 16000

[peft]
r = 32
target_modules = ["q_proj", "k_proj", "v_proj", "o_proj"]

[training]
per_device_train_batch_size = 4
optim = "adamw_8bit"
bf16 = true

[data]
synthetic_length = 128
"""
MODULE: Final = """
import os

import pytest
import torch

PLANTED = os.environ.get("PLANTED")


@pytest.mark.vram(max_growth="1%", max_shrink="1%", steps=2)
def test_recipe(vram):
    changes = {
        "adapters": {"peft": {"target_modules": "all-linear"}},
        "optimizer": {"peft": None, "training": {"optim": "adamw_torch"}},
    }
    trained = {"peft": None} if os.environ.get("FULL") else {}
    vram.train("tiny.toml", **{**trained, **changes.get(PLANTED, {})})


@pytest.mark.vram(max_growth="1%", max_creep="0")
def test_loop(vram):
    kept = []
    with vram.phase("load"):
        model = torch.nn.Sequential(torch.nn.Linear(256, 1024), torch.nn.Linear(1024, 8000)).cuda().bfloat16()
        optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(8):
        with vram.step(tokens=512):
            logits = model(torch.empty(512, 256, device="cuda", dtype=torch.bfloat16))
            if PLANTED == "creep":
                kept.append(logits.detach())
            if PLANTED == "logits":
                logits = logits.float()
            torch.nn.functional.cross_entropy(logits, torch.zeros(512, dtype=torch.long, device="cuda")).backward()
            optimizer.step()
            optimizer.zero_grad()
            del logits


@pytest.mark.vram(max_growth="1%", max_shrink="1%", phases={"eval": "524MiB"})
def test_eval(vram):
    with vram.phase("load"):
        model = torch.nn.Sequential(torch.nn.Linear(2048, 4096), torch.nn.Linear(4096, 2048)).cuda()
        optimizer = torch.optim.SGD(model.parameters())
    for _ in range(2):
        with vram.step():
            model(torch.empty(16, 2048, device="cuda")).sum().backward()
            optimizer.step()
            if PLANTED != "gradients":
                optimizer.zero_grad()
    with vram.phase("eval"), torch.no_grad():
        model(torch.empty(8192, 2048, device="cuda"))


@pytest.mark.vram(max_growth="1%", max_shrink="1%", phases={"merge": "184MiB"})
def test_merge(vram):
    import copy

    import peft

    with vram.phase("load"):
        base = torch.nn.Sequential(*(torch.nn.Linear(1024, 1024) for _ in range(8))).cuda()
        model = peft.get_peft_model(base, peft.LoraConfig(target_modules=[str(number) for number in range(8)]))
    with vram.phase("merge"):
        merged = (copy.deepcopy(model) if PLANTED == "copy" else model).merge_and_unload()
"""


def project_run(folder: Path, monkeypatch: pytest.MonkeyPatch, planted: str | None, *arguments: str) -> Run:
    """Run one of the cases, with a regression or without."""
    if planted is None:
        monkeypatch.delenv("PLANTED", raising=False)
    else:
        monkeypatch.setenv("PLANTED", planted)
    files = {"test_planted.py": MODULE, "tiny.toml": RECIPE, "pyproject.toml": ""}
    return run_once(folder, files, "-rA", *arguments, *ON_RTX3060)


def failed(run: Run, name: str) -> dict[str, dict[str, Any]]:
    """Return the verdicts of a case that did not pass, by their gate."""
    return {verdict["gate"]: verdict for verdict in run.cases[name]["verdicts"] if verdict["outcome"] != "PASS"}


def grown_parts(verdict: dict[str, Any]) -> list[str]:
    """Return the parts that a verdict says have grown, the largest first."""
    return re.findall(r"(\w+) \+", verdict["causes"][0].removeprefix("parts: "))


@pytest.mark.parametrize(
    ("planted", "name", "full", "parts"),
    [
        ("adapters", "test_recipe", False, ["activations", "weights", "optimizer"]),
        ("optimizer", "test_recipe", True, ["optimizer"]),
        ("logits", "test_loop", False, ["activations", "other"]),
    ],
)
def test_growth_is_blamed(  # noqa: PLR0913, PLR0917 (fixtures and parameters)
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    planted: str,
    name: str,
    full: bool,  # noqa: FBT001 (a parameter of the test)
    parts: list[str],
) -> None:
    """A planted regression fails the growth gate with the parts that grew; the same case without it is silent."""
    if full:
        monkeypatch.setenv("FULL", "1")
    project_run(tmp_path, monkeypatch, None, "--vram-accept", "-k", name)

    silent = failed(project_run(tmp_path, monkeypatch, None, "-k", name), name)
    loud = failed(project_run(tmp_path, monkeypatch, planted, "-k", name), name)

    assert {} == silent
    assert {"growth"} == set(loud)
    assert parts == grown_parts(loud["growth"])


def test_a_list_that_keeps_every_output_creeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The creep gate finds it with the size of one output, and without a baseline; the loop without the list is silent."""
    silent = project_run(tmp_path, monkeypatch, None, "-k", "test_loop")
    unjudged = set(failed(silent, "test_loop"))
    loud = project_run(tmp_path, monkeypatch, "creep", "-k", "test_loop")
    creep = failed(loud, "test_loop")["creep"]

    assert ({"growth"}, "PASSED") == (unjudged, silent.outcomes["test_loop"])  # there is no baseline
    assert ("FAIL", "FAILED") == (creep["outcome"], loud.outcomes["test_loop"])
    # A block of more than 1 MiB keeps up to 1 MiB that is left over. Source: torch, CUDACachingAllocator.cpp, kSmallSize.
    assert 512 * 8000 * 2 <= creep["observed"] <= 512 * 8000 * 2 + MIB


@pytest.mark.parametrize(
    ("planted", "name", "part", "phase", "size_mib"),
    [("gradients", "test_eval", "gradients", "eval", 64), ("copy", "test_merge", "weights", "merge", 32)],
)
def test_growth_after_the_steps_is_blamed(  # noqa: PLR0913, PLR0917 (fixtures and parameters)
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str, name: str, part: str, phase: str, size_mib: int
) -> None:
    """Gradients that live on in an evaluation, and a second copy of the weights at a merge, break the phase's limit too."""
    project_run(tmp_path, monkeypatch, None, "--vram-accept", "-k", name)

    silent = failed(project_run(tmp_path, monkeypatch, None, "-k", name), name)
    loud = failed(project_run(tmp_path, monkeypatch, planted, "-k", name), name)
    parts, phases, _environment = loud["growth"]["causes"]

    assert {} == silent
    assert {"growth", "phase"} == set(loud)
    assert parts.startswith(f"parts: {part} +{size_mib}.")
    assert phases.startswith(f"allocated peak by phase: {phase} +{size_mib}.")
    assert f"peak device bytes of phase {phase!r}" == loud["phase"]["metric"]
