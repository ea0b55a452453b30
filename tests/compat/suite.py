"""What every supported release of torch must do on the emulated card.

`walk.py` runs this file in the environment of each era, where nothing but the training stack, pytest and this package is
installed; hence its name, by which pytest does not find it elsewhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

RECIPE = """
[model]
pretrained_model_name_or_path = "meta-llama/Llama-2-7b-hf" # which every release of transformers knows
dtype = "bfloat16"
[model.config]
num_hidden_layers = 2
[quantization]
load_in_4bit = true
bnb_4bit_quant_type = "nf4"
bnb_4bit_compute_dtype = "bfloat16"
[peft]
r = 8
target_modules = ["q_proj", "v_proj"]
[training]
per_device_train_batch_size = 1
optim = "adamw_bnb_8bit"
bf16 = true
[data]
synthetic_length = 128
"""
SCRIPT = """
import torch

model = torch.nn.Linear(1024, 1024, bias=False).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    model(torch.randn(64, 1024, device="cuda")).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
"""
BIN = Path(sys.executable).parent


def test_the_build_is_the_one_asked_for() -> None:
    """The environment holds the era's release of torch, for its CUDA."""
    version, cuda = os.environ["VRAMGUARD_TEST_TORCH"], os.environ["VRAMGUARD_TEST_CUDA"]

    assert version in {torch.__version__.partition("+")[0], "newest"}
    assert str(torch.version.cuda).startswith(cuda)


@pytest.mark.vram(max_gb=1)
def test_own_loop(vram: Any) -> None:
    """A loop without any library above torch."""
    with vram.phase("load"):
        model = torch.nn.Sequential(*(torch.nn.Linear(1024, 1024) for _ in range(4))).cuda()
        optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(3):
        batch = torch.randn(64, 1024).cuda()
        with vram.step(tokens=64):
            model(batch).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.vram(max_gb=2)
def test_trainer_lora(vram: Any, tmp_path: Path) -> None:
    """The Trainer and PEFT as a repository uses them."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

    config = LlamaConfig(vocab_size=2048, hidden_size=512, intermediate_size=1024, num_hidden_layers=2, num_attention_heads=8)
    with vram.phase("load"):
        model = get_peft_model(LlamaForCausalLM(config), LoraConfig(r=8, target_modules=["q_proj", "v_proj"]))
    rows = [{"input_ids": list(range(128)), "labels": list(range(128))} for _ in range(4)]
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=3,
        per_device_train_batch_size=2,
        bf16=True,
        remove_unused_columns=False,  # transformers 4.36 cannot see through PEFT which columns are used
        report_to="none",
        save_strategy="no",
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[vram.callback()])

    trainer.train()


@pytest.mark.vram(max_gb=2)
def test_recipe_in_four_bits(vram: Any, tmp_path: Path) -> None:
    """A recipe: phantom checkpoint, bitsandbytes' nf4 load and 8-bit optimizer."""
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE, encoding="utf-8")

    vram.train(path)


@pytest.mark.vram
@pytest.mark.xfail(strict=True, reason="more than the card has")
def test_out_of_memory() -> None:
    """PyTorch's own error fails the case."""
    torch.empty(13 << 30, dtype=torch.uint8, device="cuda")


@pytest.mark.vram
def test_vendor_libraries() -> None:
    """Convolutions, batch normalisation, solvers and transforms find the libraries of the era."""
    pictures = torch.randn(2, 16, 32, 32, device="cuda", requires_grad=True)
    layers = torch.nn.Sequential(torch.nn.Conv2d(16, 32, 3), torch.nn.BatchNorm2d(32)).cuda()
    layers(pictures).sum().backward()
    torch.linalg.cholesky(torch.eye(64, device="cuda"))
    torch.fft.rfft(torch.randn(8, 64, device="cuda"))


@pytest.mark.vram
@pytest.mark.skipif(torch.__version__.startswith("2.1."), reason="before torch 2.4 sparse tensors leave a case UNJUDGED")
def test_sparse_product() -> None:
    """A sparse matrix whose entries the host knows, and cuSPARSE."""
    torch.sparse.mm(torch.eye(64).to_sparse_csr().cuda(), torch.randn(64, 8, device="cuda"))


@pytest.mark.vram
@pytest.mark.skipif(torch.__version__.startswith("2.1."), reason="Triton 2.1 finds no driver but that of the system")
def test_compiled(vram: Any) -> None:
    """`torch.compile` writes kernels for the card, forward and backward, and finds them again."""
    layers = torch.nn.Sequential(torch.nn.Linear(256, 1024), torch.nn.GELU(), torch.nn.LayerNorm(1024)).cuda()
    compiled = torch.compile(layers, fullgraph=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(3):
            with vram.step(tokens=64):
                compiled(torch.randn(64, 256, device="cuda")).square().mean().backward()


@pytest.mark.vram
def test_known_values() -> None:
    """What follows from the host's data is true on the card."""
    mask = (torch.arange(8) % 3 == 0).cuda()
    picked = torch.randn(8, 64, device="cuda")[mask]

    assert (3, 64) == tuple(picked.shape)
    assert [0, 3, 6] == mask.nonzero().flatten().tolist()


def test_run_measures_a_script(tmp_path: Path) -> None:
    """`vramguard run` puts a script on the card."""
    tmp_path.joinpath("train.py").write_text(SCRIPT, encoding="utf-8")
    command = [str(BIN / "vramguard"), "run", "--target", "rtx3060", "--json", "report.json", "--", sys.executable, "train.py"]

    subprocess.run(command, cwd=tmp_path, check=True)

    (case,) = json.loads(tmp_path.joinpath("report.json").read_text(encoding="utf-8"))["cases"]
    assert "PASS" == case["outcome"]
    assert 4 << 20 == case["reading"]["parts"]["weights"]


def test_the_doctor_finds_a_device() -> None:
    """`vramguard doctor` says that emulation works here."""
    ended = subprocess.run([str(BIN / "vramguard"), "doctor", "--json"], capture_output=True, text=True, check=False)

    found = json.loads(ended.stdout)
    assert (0, True) == (ended.returncode, found["emulation"]["works"])
