"""Convolutional networks, vision transformers and diffusion models train on the emulated card, and repeat to the byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.stack.projects import cases, outcomes, sizes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.stack]

VISION = """
import pytest
import torch
from torch import nn


def block(channels_in, channels_out, stride):
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU(),
        nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU(),
    )


def convolutional():
    return nn.Sequential(
        nn.Conv2d(3, 16, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        block(16, 16, 1), block(16, 32, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )


def vision_transformer():
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(
        ViTConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, image_size=64)
    )


@pytest.mark.vram
@pytest.mark.parametrize("form", ["contiguous_format", "channels_last"])
@pytest.mark.parametrize("make", [convolutional, vision_transformer])
def test_classifier(vram, make, form):
    form = getattr(torch, form)
    with vram.phase("load"):
        model = make().cuda().to(memory_format=form).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    images = torch.randn(4, 3, 64, 64).cuda().to(memory_format=form)
    labels = torch.tensor([0, 1, 0, 1]).cuda()
    for _ in range(3):
        with vram.step(tokens=4), torch.autocast("cuda", dtype=torch.float16):
            logits = model(images)
            nn.functional.cross_entropy(getattr(logits, "logits", logits), labels).backward()
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.vram
@pytest.mark.parametrize("layer", [nn.LSTM])
def test_recurrent(vram, layer):
    layer(8, 8).cuda()(torch.empty(3, 2, 8, device="cuda"))
"""
DIFFUSION = """
import diffusers
import peft
import pytest
import torch


def unet():
    model = diffusers.UNet2DConditionModel(
        sample_size=16, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8, cross_attention_dim=32,
        attention_head_dim=8, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    return model, {"encoder_hidden_states": torch.randn(2, 7, 32).cuda()}


def dit():
    model = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, num_layers=2, sample_size=16, patch_size=2,
        norm_num_groups=8,
    )
    return model, {"class_labels": torch.tensor([1, 2]).cuda()}


@pytest.mark.vram
@pytest.mark.parametrize("make", [unet, dit])
def test_adapter(vram, make):
    with vram.phase("load"):
        model, conditions = make()
        model.requires_grad_(False)
        peft.inject_adapter_in_model(peft.LoraConfig(r=4, target_modules=["to_q", "to_k", "to_v", "to_out.0"]), model.cuda())
        optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad])
    scheduler = diffusers.DDPMScheduler()
    latents, steps = torch.randn(2, 4, 16, 16).cuda(), torch.tensor([5, 10]).cuda()
    for _ in range(3):
        with vram.step(tokens=2), torch.autocast("cuda", dtype=torch.bfloat16):
            noise = torch.randn_like(latents)
            guess = model(scheduler.add_noise(latents, noise, steps), timestep=steps, **conditions).sample
            torch.nn.functional.mse_loss(guess, noise).backward()
            optimizer.step()
            optimizer.zero_grad()
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own, without the network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytester.path


@pytest.mark.long
@pytest.mark.usefixtures("project")
def test_classifiers_train_and_repeat(pytester: pytest.Pytester) -> None:
    """Networks with convolutions, batch normalisation and attention pass and repeat; a recurrent one names what is missing."""
    pytester.makepyfile(VISION)
    first, second = cases(pytester), cases(pytester)
    recurrent = first.pop("LSTM")

    assert dict.fromkeys(outcomes(first), ("PASS", None)) == outcomes(first)
    assert 4 == len(first)
    assert sizes(first) == {name: found for name, found in sizes(second).items() if name in first}
    assert "UNJUDGED" == recurrent["outcome"]
    assert "emulation does not cover cudnnCreateRNNDescriptor" in str(recurrent)


@pytest.mark.long
@pytest.mark.usefixtures("project")
def test_diffusion_adapters_train_and_repeat(pytester: pytest.Pytester) -> None:
    """A LoRA on a U-Net and one on a diffusion transformer train three steps, pass and repeat."""
    pytester.makepyfile(DIFFUSION)
    first, second = cases(pytester), cases(pytester)

    assert {"unet": ("PASS", None), "dit": ("PASS", None)} == outcomes(first)
    assert sizes(first) == sizes(second)
