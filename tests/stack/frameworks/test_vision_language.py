"""A vision-language model trains: what its images occupy follows from their sizes, which the host knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForImageTextToText

from tests.stack.frameworks import tiny

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel

    from pytest_vramguard.recipes.callback import StepCallback
    from tests.stack.frameworks.conftest import Runner

pytestmark = [pytest.mark.stack]

STEPS = 3
IMAGE_TOKEN, VISION_START, VISION_END = 1000, 1001, 1002
GRIDS: Final = ((1, 8, 12), (1, 16, 4))
"""Patches of each image in time, height and width; four patches become one token."""
TOKENS: Final = tuple(frames * height * width // 4 for frames, height, width in GRIDS)
LENGTH: Final = 48
"""Tokens of a sample, of which those of its image; the shorter prompt is padded."""
VISION: Final[dict[str, Any]] = {"depth": 2, "num_heads": 4, "patch_size": 4, "temporal_patch_size": 2, "spatial_merge_size": 2}
TOKEN_IDS: Final[dict[str, Any]] = {
    "image_token_id": IMAGE_TOKEN,
    "video_token_id": 1003,
    "vision_start_token_id": VISION_START,
    "vision_end_token_id": VISION_END,
}
TEXT: Final = {**tiny.DECODER, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [8, 12, 12]}}

VISIONS: Final[dict[str, dict[str, Any]]] = {
    "qwen2_vl": {"embed_dim": 64, "hidden_size": 256, "mlp_ratio": 2},
    "qwen2_5_vl": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "out_hidden_size": 256,
        "window_size": 16,
        "fullatt_block_indexes": [1],
    },
    "qwen3_vl": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "out_hidden_size": 256,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    },
}
"""What each type of model says of its vision besides `VISION`; the second attends in windows, the third has deep stacks."""


def vision_language_model(kind: str) -> Any:
    """Return a model of that type on the host."""
    config = AutoConfig.for_model(kind, text_config=TEXT, vision_config={**VISION, **VISIONS[kind]}, **TOKEN_IDS)
    return AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)


def batch() -> dict[str, torch.Tensor]:
    """Return two samples on the host, each with an image of its own size in the text, padded on the right."""
    images = [[VISION_START, *[IMAGE_TOKEN] * count, VISION_END] for count in TOKENS]
    rows = [[*range(10, 15), *image, *range(20, 30 - 3 * number)] for number, image in enumerate(images)]
    ids = torch.tensor([row + [3] * (LENGTH - len(row)) for row in rows])
    return {
        "input_ids": ids,
        "attention_mask": (ids != 3).long(),
        "labels": ids.where(ids < IMAGE_TOKEN, -100),
        "mm_token_type_ids": (ids == IMAGE_TOKEN).int(),
        "pixel_values": torch.randn(4 * sum(TOKENS), 3 * 2 * 4 * 4),
        "image_grid_thw": torch.tensor(GRIDS),
    }


@pytest.fixture(autouse=True)
def without_cudnn() -> Iterator[None]:
    """Take torch's own convolution for the patches; which library computes it is not what this file is about."""
    with torch.backends.cudnn.flags(enabled=False):
        yield


@pytest.mark.parametrize("kind", VISIONS)
def test_lora(twice: Runner, kind: str) -> None:
    """LoRA on text and vision trains; nothing that an image decides is read as 0."""

    def train(_callback: StepCallback) -> None:
        model = vision_language_model(kind).cuda()
        adapted = get_peft_model(model, LoraConfig(r=8, target_modules=["q_proj", "v_proj", "qkv"]))
        optimizer = torch.optim.AdamW(weight for weight in adapted.parameters() if weight.requires_grad)
        for _ in range(STEPS):
            adapted(**{name: values.cuda() for name, values in batch().items()}).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    assert () == twice(train).notes


@pytest.mark.parametrize("kind", VISIONS)
def test_positions_and_lengths(ran_on_card: Runner, kind: str) -> None:
    """Positions of text and image, and where each image's patches begin, are those of the CPU."""
    model = vision_language_model(kind)

    def shapes(model: PreTrainedModel, device: str) -> list[Any]:
        found: list[Any] = []
        vision = model.model.visual.blocks[0]
        vision.register_forward_pre_hook(
            lambda _, _inputs, kwargs: found.append(kwargs["cu_seqlens"].tolist()), with_kwargs=True
        )
        text = model.model.language_model
        text.register_forward_pre_hook(
            lambda _, _inputs, kwargs: found.append(kwargs["position_ids"].tolist()), with_kwargs=True
        )
        model(**{name: values.to(device) for name, values in batch().items()})
        return found

    expected = shapes(model, "cpu")
    found: list[Any] = []
    ran_on_card(lambda _: found.extend(shapes(vision_language_model(kind).cuda(), "cuda")))

    assert expected == found
