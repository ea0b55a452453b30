"""A mixture of experts trains; its router's choice, which nobody computes, is taken to be balanced, and the case says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import torch
from peft import get_peft_model
from transformers import AutoConfig

from tests.stack.frameworks import tiny

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedConfig, PreTrainedModel

    from tests.stack.frameworks.conftest import Runner

pytestmark = [pytest.mark.stack]

ROWS, LENGTH = 4, 128
EXPERTS, CHOSEN = 16, 4
SLOTS = ROWS * LENGTH * CHOSEN
"""Tokens times chosen experts: 2,048, of which a balanced choice gives each expert 128."""
MODELS: Final = ("qwen3_moe", "mixtral")
DISPATCHES: Final = ("grouped_mm", "eager", "batched_mm")
"""Ways in which transformers gives tokens to experts: sorted by expert, in a loop over those that were hit, one by one."""


def config(model: str, dispatch: str = "grouped_mm") -> PreTrainedConfig:
    """Return the configuration of a model of that type with 16 experts a layer, 4 of them for each token."""
    count = {"qwen3_moe": "num_experts", "mixtral": "num_local_experts"}[model]
    sizes = {count: EXPERTS, "num_experts_per_tok": CHOSEN, "intermediate_size": 128, "moe_intermediate_size": 128}
    return AutoConfig.for_model(model, **{**tiny.DECODER, **sizes}, experts_implementation=dispatch)


def train(config: PreTrainedConfig, prepare: Callable[[PreTrainedModel], None] = lambda _: None, **lora: Any) -> None:
    """Train a LoRA for two steps."""
    model = tiny.model(config, dtype=torch.bfloat16).cuda()
    prepare(model)
    adapted = get_peft_model(model, tiny.lora(**lora))
    optimizer = torch.optim.AdamW(weight for weight in adapted.parameters() if weight.requires_grad)
    ids = torch.arange(ROWS * LENGTH).view(ROWS, LENGTH).cuda()
    for _ in range(2):
        adapted(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def choose(choice_TK: torch.Tensor) -> Callable[[PreTrainedModel], None]:  # noqa: N803 # T: tokens, K: experts for each
    """Return what makes every router of a model choose as told, from the host."""

    def prepare(model: PreTrainedModel) -> None:
        for layer in model.model.layers:
            layer.mlp.gate.register_forward_hook(lambda _module, _inputs, outputs: (*outputs[:2], choice_TK.cuda()))

    return prepare


@pytest.mark.parametrize("dispatch", DISPATCHES)
@pytest.mark.parametrize("model", MODELS)
def test_lora(twice: Runner, model: str, dispatch: str) -> None:
    """LoRA on the attention trains with each way to dispatch, and the note names the router."""
    found = twice(lambda _: train(config(model, dispatch)))

    assert [note for note in found.notes if note.startswith("data-dependent: a balanced assignment to experts was assumed: ")]


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_peak_is_that_of_a_balanced_router(ran_on_card: Runner, dispatch: str) -> None:
    """The peak is that of a router which is known to give each of 16 experts 128 of 512 x 4 tokens, in another order."""
    choice = (torch.arange(SLOTS).view(CHOSEN, -1) % EXPERTS).t().contiguous()
    choice = (choice + 5 * torch.arange(CHOSEN)) % EXPERTS
    assert [SLOTS // EXPERTS] * EXPERTS == choice.flatten().bincount(minlength=EXPERTS).tolist()
    router = config("qwen3_moe", dispatch)

    assumed = ran_on_card(lambda _: train(router))
    known = ran_on_card(lambda _: train(router, choose(choice)))

    assert assumed.peaks == known.peaks


def test_an_uneven_router_differs(ran_on_card: Runner) -> None:
    """Where four experts get all tokens, the loop over experts takes another peak: what was assumed matters there."""
    router = config("qwen3_moe", "eager")
    uneven = torch.arange(CHOSEN).expand(ROWS * LENGTH, CHOSEN).contiguous()

    assumed = ran_on_card(lambda _: train(router))
    known = ran_on_card(lambda _: train(router, choose(uneven)))

    assert assumed.peaks != known.peaks


def test_lora_on_experts(twice: Runner) -> None:
    """PEFT's LoRA on the experts' own weights trains."""
    names = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]

    assert () == twice(lambda _: train(config("qwen3_moe"), target_parameters=names)).gaps
