"""Regressions planted in tiny cases: each is caught by the right gate, and blamed on part, module and line."""

from __future__ import annotations

import pickle
import re
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from pytest_vramguard.units import MIB
from tests.plugin.projects import ON_RTX3060, Run, run_once

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
vocab_size = 4000

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
MODULE: Final = '''
import os

import pytest
import torch
from torch.nn.functional import cross_entropy

PLANTED = os.environ.get("PLANTED") == "yes"
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "bfloat16"}
grows = pytest.mark.vram(max_growth="1%", max_shrink="1%", steps=2)


@grows
def test_adapters(vram):
    """LoRA on every linear layer instead of those of the attention."""
    vram.train("tiny.toml", **({"peft": {"target_modules": "all-linear"}} if PLANTED else {}))


@grows
def test_optimizer(vram):
    """An optimizer of 32 bits instead of 8."""
    vram.train("tiny.toml", peft=None, **({"training": {"optim": "adamw_torch"}} if PLANTED else {}))


@grows
def test_attention(vram):
    """The attention that keeps every score instead of a fused kernel."""
    vram.train("tiny.toml", model={"attn_implementation": "eager" if PLANTED else "sdpa"})


@pytest.mark.vram(max_growth="64KiB", max_shrink="64KiB", steps=2)
def test_double_quantisation(vram):
    """The scales of 4-bit weights in 32 bits instead of 8."""
    vram.train("tiny.toml", quantization={**NF4, "bnb_4bit_use_double_quant": not PLANTED})


@grows
def test_checkpointing(vram):
    """A model that was left in eval mode, in which transformers does not checkpoint."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=256, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=4, vocab_size=1000, dtype="bfloat16"
    )
    with vram.phase("load"):
        model = LlamaForCausalLM(config).cuda().bfloat16()
        model.gradient_checkpointing_enable()
        optimizer = torch.optim.SGD(model.parameters())
    model.eval() if PLANTED else model.train()
    for _ in range(3):
        with vram.step():
            ids = torch.zeros(4, 256, dtype=torch.long).cuda()
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()


def train(vram, loss_of, rows, kept=None):
    """Train two layers, a step for each number of rows; the results of the layers are kept in a list, if there is one."""
    with vram.phase("load"):
        model = torch.nn.Sequential(torch.nn.Linear(256, 1024), torch.nn.Linear(1024, 8000)).cuda().bfloat16()
        optimizer = torch.optim.SGD(model.parameters())
    for count in rows:
        with vram.step():
            logits = model(torch.zeros(count, 256, dtype=torch.bfloat16).cuda())
            if kept is not None:
                kept.append(logits.detach())
            loss_of(logits, torch.zeros(count, dtype=torch.long).cuda()).backward()
            optimizer.step()
            optimizer.zero_grad()
            del logits


def loss_of(logits, labels):
    return cross_entropy(logits.float() if PLANTED else logits, labels)


@grows
def test_logits(vram):
    """Logits in 32 bits."""
    train(vram, loss_of, [512] * 3)


@grows
def test_padding(vram):
    """A loader that pads every batch to the longest there may be."""
    train(vram, cross_entropy, [512 if PLANTED else length for length in (96, 256, 192)])


@grows
def test_full(vram):
    """A batch that no card takes."""
    train(vram, cross_entropy, [96, 128, 2**20 if PLANTED else 128])


def loss_that_is_read(logits, labels):
    loss = cross_entropy(logits, labels)
    if PLANTED:
        print(loss.item())
    return loss


@pytest.mark.vram(max_syncs_growth="0")
def test_syncs(vram):
    """A loss that is read in every step."""
    train(vram, loss_that_is_read, [128] * 3)


@pytest.mark.vram(max_growth="1%", max_shrink="1%", phases={"eval": "524MiB"})
def test_eval(vram):
    """Gradients that live on in an evaluation."""
    with vram.phase("load"):
        model = torch.nn.Sequential(torch.nn.Linear(2048, 4096), torch.nn.Linear(4096, 2048)).cuda()
        optimizer = torch.optim.SGD(model.parameters())
    for _ in range(2):
        with vram.step():
            model(torch.empty(16, 2048, device="cuda")).sum().backward()
            optimizer.step()
            if not PLANTED:
                optimizer.zero_grad()
    with vram.phase("eval"), torch.no_grad():
        model(torch.empty(8192, 2048, device="cuda"))


@pytest.mark.vram(max_growth="1%", max_shrink="1%", phases={"merge": "184MiB"})
def test_merge(vram):
    """A second copy of the weights while an adapter is merged."""
    import copy

    import peft

    with vram.phase("load"):
        base = torch.nn.Sequential(*(torch.nn.Linear(1024, 1024) for _ in range(8))).cuda()
        model = peft.get_peft_model(base, peft.LoraConfig(target_modules=[str(number) for number in range(8)]))
    with vram.phase("merge"):
        merged = (copy.deepcopy(model) if PLANTED else model).merge_and_unload()


@pytest.mark.vram(max_creep="0")
def test_creep(vram):
    """A list that keeps what each step made."""
    train(vram, cross_entropy, [128] * 8, [] if PLANTED else None)
'''
CASES: Final = {
    "test_adapters": (
        "activations",
        ["modules: base_model.model.model.layers.*.mlp +", "peft/tuners/lora/layer.py:", "adapters +"],
    ),
    "test_optimizer": ("optimizer", ["modules: model.layers.* +", "optimizer.py:"]),
    "test_attention": ("activations", ["modules: base_model.model.model.layers.*.self_attn +", "in eager_attention_forward"]),
    "test_double_quantisation": ("weights", ["modules: base_model.model.model.layers.* +", "bitsandbytes/"]),
    "test_checkpointing": ("activations", ["modules: model.layers.* +", "transformers/models/llama/modeling_llama.py:"]),
    "test_logits": ("activations", ["LINE in loss_of: return cross_entropy(logits.float()"]),
    "test_padding": ("activations", ["modules: Sequential.* +", "LINE in train: logits = model("]),
}
"""The part that grows most, and what else the causes say; LINE is the file and line of the code that follows in it."""


AFTERWARDS: Final = {"test_eval": ("gradients", "eval", 64), "test_merge": ("weights", "merge", 32)}
"""The part that grows after the steps, the phase, and the whole MiB of it."""


class Runs(NamedTuple):
    """The cases of one project against its baselines, without what is planted and with it."""

    silent: dict[str, dict[str, Any]]
    loud: dict[str, dict[str, Any]]
    failures: Run
    """The run that made `loud`."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Accept the baselines of the project, then run it without what is planted, and with it."""
    folder = tmp_path_factory.mktemp("planted")
    files = {"test_planted.py": MODULE, "tiny.toml": RECIPE, "pyproject.toml": ""}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PLANTED", raising=False)
        run_once(folder, files, *ON_RTX3060, "--vram-accept")
        silent = run_once(folder, files, *ON_RTX3060).cases
        patch.setenv("PLANTED", "yes")
        failures = run_once(folder, files, "-rA", *ON_RTX3060, "--vram-artifacts", "snapshots")
    return Runs(silent, failures.cases, failures)


def failed(case: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the verdicts of a case that did not pass, by their gate."""
    return {verdict["gate"]: verdict for verdict in case["verdicts"] if verdict["outcome"] != "PASS"}


def place_of(code: str) -> str:
    """Return the file and line of the project's module that begins with `code`."""
    number = next(number for number, line in enumerate(MODULE.splitlines(), 1) if line.strip().startswith(code))
    return f"test_planted.py:{number}"


def told(fragment: str) -> str:
    """Return what a cause says, with the place of the code in it."""
    return fragment.replace("LINE", place_of(fragment.partition(": ")[2]))


@pytest.mark.parametrize("name", CASES)
def test_growth_is_blamed(runs: Runs, name: str) -> None:
    """What is planted fails the growth gate with the part that grew most, the module and the line; without it all is silent."""
    part, fragments = CASES[name]
    loud = failed(runs.loud[name])
    causes = loud["growth"]["causes"]

    assert {} == failed(runs.silent[name])
    assert {"growth"} == set(loud)
    assert part == re.findall(r"(\w+) \+", causes[0])[0]
    assert [] == [fragment for fragment in map(told, fragments) if not any(fragment in cause for cause in causes)]


def test_a_full_card_is_blamed(runs: Runs) -> None:
    """Out of memory says which line asked for more than there was, and where what was held by then came from."""
    loud = failed(runs.loud["test_full"])
    asking = f"{place_of('logits = model(')} in train: logits = model("

    assert {} == failed(runs.silent["test_full"])
    assert {"fit", "growth", "shrink"} == set(loud)
    (refused,) = loud["fit"]["causes"]
    assert refused.startswith(f"{2**20 * 8000 * 2 / 2**30:.2f} GiB were asked for at {asking}")
    assert any(cause.startswith(f"at {asking}") for cause in loud["growth"]["causes"])


@pytest.mark.parametrize("name", AFTERWARDS)
def test_growth_after_the_steps_is_blamed(runs: Runs, name: str) -> None:
    """Gradients that live on in an evaluation, and a second copy of the weights at a merge, break the phase's limit too."""
    part, phase, size_mib = AFTERWARDS[name]
    loud = failed(runs.loud[name])
    causes = loud["growth"]["causes"]

    assert {} == failed(runs.silent[name])
    assert {"growth", "phase"} == set(loud)
    assert causes[0].startswith(f"parts: {part} +{size_mib}.")
    assert 1 == sum(cause.startswith(f"allocated peak by phase: {phase} +{size_mib}.") for cause in causes)
    assert f"peak device bytes of phase {phase!r}" == loud["phase"]["metric"]


def test_a_list_that_keeps_every_output_creeps(runs: Runs) -> None:
    """The creep gate finds it with the size of one output and the line that made it, and without a baseline."""
    creep = failed(runs.loud["test_creep"])["creep"]

    assert {} == failed(runs.silent["test_creep"])
    # A block of more than 1 MiB keeps up to 1 MiB that is left over. Source: torch, CUDACachingAllocator.cpp, kSmallSize.
    assert 128 * 8000 * 2 <= creep["observed"] <= 128 * 8000 * 2 + MIB
    assert f"{place_of('logits = model(')} in train: logits = model(" in creep["causes"][1]


def test_a_value_that_is_read_in_every_step_is_a_wait(runs: Runs) -> None:
    """The work gate finds the wait that `.item()` is, and names its line."""
    loud = failed(runs.loud["test_syncs"])

    assert {} == failed(runs.silent["test_syncs"])
    assert ["work growth"] == list(loud)
    assert ("syncs a steady step", 1) == (
        loud["work growth"]["metric"],
        loud["work growth"]["observed"] - loud["work growth"]["limit"],
    )
    assert f"new syncs: {place_of('print(loss.item())')} (print(loss.item()); 1 a step)" == loud["work growth"]["causes"][0]


def test_every_failure_is_short(runs: Runs) -> None:
    """Whatever was recorded, the account of a failure takes at most 15 lines, and ends with the path of the snapshot."""
    accounts = {name: runs.failures.failure_of(name) for name in runs.loud}

    assert {name: [] for name in accounts} == {name: account[15:] for name, account in accounts.items()}
    assert {name: f"snapshot for pytorch.org/memory_viz: {case['snapshot']}" for name, case in runs.loud.items()} == {
        name: account[-1] for name, account in accounts.items()
    }


def test_snapshots_are_what_torch_draws(runs: Runs) -> None:
    """Each failed case leaves a file that torch's own viewer draws, which holds the peak."""
    from torch.cuda import _memory_viz

    for case in runs.loud.values():
        snapshot = pickle.loads(Path(case["snapshot"]).read_bytes())  # noqa: S301 (our own)
        pictures = [_memory_viz.trace_plot(snapshot), _memory_viz.segment_plot(snapshot), _memory_viz.trace(snapshot)]
        reading = case["reading"]
        unseen_bytes = reading["peak_allocated_bytes"] - largest_sum(snapshot["device_traces"][0])
        assert all(pictures)
        assert 0 <= unseen_bytes <= reading["parts"]["other"]  # events leave out what a block keeps beyond its size


def largest_sum(events: list[dict[str, Any]]) -> int:
    """Return the most bytes that the events of a device had allocated at once, in the allocator's blocks of 512 bytes."""
    changes = {"alloc": 1, "free_completed": -1}
    sums = accumulate(changes.get(event["action"], 0) * -(-event["size"] // 512) * 512 for event in events)
    return int(max(sums))
