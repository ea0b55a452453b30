"""Which model fits which card? The table in the README, made anew for your versions of the libraries.

    pytest which_card.py --vram-target rtx3060,rtx4060ti-16,rtx4090,a100-80

LoRA on the attention, batch 1, 512 tokens, gradient checkpointing, 8-bit AdamW. A failure is an answer here: it does not fit.
pytest does not collect this file by itself, since it is a question and not a test of a recipe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_vramguard.guard import Case

MODELS = (
    "meta-llama/Llama-3.2-1B",
    "meta-llama/Llama-3.2-3B",
    "meta-llama/Llama-2-7b-hf",
    "Qwen/Qwen3-8B",
)


@pytest.mark.parametrize("weights", ["nf4", "bf16"])
@pytest.mark.parametrize("model", MODELS)
def test_model_fits(vram: Case, model: str, weights: str) -> None:
    """The recipe of the first example with another model, in 4 bits or in 16."""
    tables = {} if weights == "nf4" else {"quantization": None}
    vram.train("recipes/llama2-7b-qlora.toml", model={"pretrained_model_name_or_path": model}, **tables)
