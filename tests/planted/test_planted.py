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


@pytest.mark.vram(max_growth="1%", max_creep="0", max_syncs_growth="0")
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
            loss = torch.nn.functional.cross_entropy(logits, torch.zeros(512, dtype=torch.long, device="cuda"))
            loss.backward()
            if PLANTED == "syncs":
                kept.append(loss.item())
            optimizer.step()
            optimizer.zero_grad()
            del logits, loss
"""


def project_run(folder: Path, monkeypatch: pytest.MonkeyPatch, planted: str | None, *arguments: str) -> Run:
    """Run one of the two cases, with a regression or without."""
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

    assert ({"growth", "work growth"}, "PASSED") == (unjudged, silent.outcomes["test_loop"])  # there is no baseline
    assert ("FAIL", "FAILED") == (creep["outcome"], loud.outcomes["test_loop"])
    # A block of more than 1 MiB keeps up to 1 MiB that is left over. Source: torch, CUDACachingAllocator.cpp, kSmallSize.
    assert 512 * 8000 * 2 <= creep["observed"] <= 512 * 8000 * 2 + MIB


def test_an_item_in_the_loop_is_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work gate finds the wait that `.item()` is, and names its file, line and source; without it the loop is silent."""
    project_run(tmp_path, monkeypatch, None, "--vram-accept", "-k", "test_loop")

    silent = failed(project_run(tmp_path, monkeypatch, None, "-k", "test_loop"), "test_loop")
    loud = failed(project_run(tmp_path, monkeypatch, "syncs", "-k", "test_loop"), "test_loop")

    line = MODULE.splitlines().index("                kept.append(loss.item())") + 1
    assert {} == silent
    assert ["work growth"] == list(loud)
    assert ("syncs a steady step", 1, 0) == tuple(loud["work growth"][key] for key in ("metric", "observed", "limit"))
    assert f"new syncs: test_planted.py:{line} (kept.append(loss.item()); 1 a step)" == loud["work growth"]["causes"][0]
