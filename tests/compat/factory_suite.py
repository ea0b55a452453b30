"""What LLaMA-Factory's examples must do below `vramguard run`.

`factory.py` runs this file in an environment of LLaMA-Factory's own; hence its name, by which pytest finds it nowhere else.
The example files and the rows of data are those of the source distribution. The model that they name lies in a folder of that
name, as they would find one that was downloaded: Qwen3-4B with fewer layers, without weights.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from transformers import AutoConfig

from pytest_vramguard.models import load_models, tokenizer_folder
from pytest_vramguard.recipes.phantom import phantom_store

SOURCE: Final = Path(os.environ["VRAMGUARD_TEST_SOURCE"])
BIN: Final = Path(sys.executable).parent
MODEL: Final = "Qwen/Qwen3-4B-Instruct-2507"
LAYERS: Final = 4
LINEAR_FEATURES: Final = 6 * 2560 + 2 * 4096 + 3 * 9728 + 2 * 1024 + 2560
"""Inputs and outputs of the seven linear layers in one of Qwen3-4B: hidden 2560, queries 4096, keys, values 1024, MLP 9728."""
ADAPTER_BYTES: Final = 4 * 8 * LAYERS * LINEAR_FEATURES
"""A LoRA of rank 8 on each of them, in 32 bits as LLaMA-Factory raises what is trained."""


@pytest.fixture(scope="module", autouse=True)
def model_folder() -> None:
    """Lay the model where the examples look for it."""
    facts: dict[str, Any] = {**load_models().find("Qwen/Qwen3-4B").config, "num_hidden_layers": LAYERS}
    phantom = phantom_store().folder(AutoConfig.for_model(**facts), torch.bfloat16)
    folder = shutil.copytree(phantom, SOURCE / MODEL)
    for file in tokenizer_folder().glob("*.json"):
        shutil.copy(file, folder)


def train(example: str, *overrides: str, gpus: int = 1) -> list[dict[str, Any]]:
    """Run `llamafactory-cli train` on an example; return the cases."""
    started = [str(BIN / "vramguard"), "run", "--target", "rtx3090", "--gpus", str(gpus), "--json", "report.json", "--"]
    command = [*started, "llamafactory-cli", "train", example, *overrides]
    path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    ended = subprocess.run(command, cwd=SOURCE, env={**os.environ, **path}, capture_output=True, text=True, check=False)
    assert 0 == ended.returncode, ended.stdout + ended.stderr
    cases: list[dict[str, Any]] = json.loads(SOURCE.joinpath("report.json").read_text(encoding="utf-8"))["cases"]
    return cases


def test_lora_example_peaks_at_the_same_bytes_again() -> None:
    """The example as it is, with a few rows of each of its data sets: three steps of eight rows."""
    ((first,), (second,)) = (train("examples/train_lora/qwen3_lora_sft.yaml", "max_samples=4") for _ in range(2))

    # The example loads data with four workers: how many batches they have pinned in the host's memory at once is luck.
    first["reading"].pop("outside")
    second["reading"].pop("outside")

    assert "PASS" == first["outcome"]
    assert first["reading"] == second["reading"]
    assert ["until the first optimizer step", "optimizer", "first step", "steady"] == list(first["reading"]["phases"])
    assert ADAPTER_BYTES == first["reading"]["parts"]["gradients"]


def test_qlora_example() -> None:
    """Four bits by bitsandbytes: the adapter has as many bytes as on 16-bit weights."""
    (case,) = train("examples/train_qlora/qwen3_lora_sft_otfq.yaml", "max_samples=4")

    assert "PASS" == case["outcome"]
    assert ADAPTER_BYTES == case["reading"]["parts"]["gradients"]


def test_two_cards_are_what_llamafactory_starts_torchrun_for() -> None:
    """It counts the cards and starts a process for each; both hold the same weights, and peak at rows of their own."""
    cases = train("examples/train_lora/qwen3_lora_sft.yaml", "max_samples=8", gpus=2)
    # The process that counts the cards opens one: a case without memory.
    ranks = [case["reading"]["parts"] for case in cases if case["reading"]["peak_reserved_bytes"]]

    assert {"PASS"} == {case["outcome"] for case in cases}
    assert [ADAPTER_BYTES] * 2 == [parts["gradients"] for parts in ranks]
    assert 1 == len({parts["weights"] for parts in ranks})
