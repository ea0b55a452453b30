"""The plans of the tables of other projects follow from a row's settings; no run is started here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.fidelity import fsdp_qlora, litgpt, ms_swift_benchmark, qwen_profiling, runner, torchtune
from tests.fidelity.environments import Environments
from tests.fidelity.rows import NotRebuilt, Plan, Run

if TYPE_CHECKING:
    from pathlib import Path

LITGPT: Final[dict[str, Any]] = {
    "model": "meta-llama/Llama-2-7b-hf",
    "method": "lora",
    "quantization": "bnb.nf4",
    "hardware": "1 x NVIDIA A100-SXM4-40GB",
    "settings": {"precision": "bf16-true", "micro_batch_size": 2, "longest_sequence_tokens": 1304, "lora": {"r": 8}},
    "value": 14.0,
    "oom": False,
    "grade": "A",
}
QWEN: Final[dict[str, Any]] = {
    "model": "Qwen/Qwen-7B-Chat",
    "method": "LoRA",
    "hardware": "1 x NVIDIA A100-SXM4-80GB",
    "settings": {"seq_len": 256, "lora": {"r": 64}},
    "value": 20.0,
    "grade": "B",
}
SWIFT: Final[dict[str, Any]] = {
    "model": "yi-6b-chat",
    "method": "LoRA",
    "hardware": "1 x NVIDIA A100",
    "settings": {"max_length": 512, "lora_rank": 8, "gradient_checkpointing": True},
    "metric": "reserved",
    "value": 14.0,
    "grade": "B",
}
TORCHTUNE: Final[dict[str, Any]] = {
    "model": "meta-llama/Llama-3.2-3B",
    "method": "LoRA",
    "hardware": "1x A100",
    "source": "README",
    "metric": "peak memory active",
    "settings": {"batch_size": 2, "max_seq_len": 4096, "packed": True, "activation_checkpointing": True},
    "unit": "GiB",
    "value": 10.0,
    "grade": "A",
}
FSDP: Final[dict[str, Any]] = {
    "model": "meta-llama/Llama-2-7b-hf",
    "method": "QLoRA",
    "hardware": "2 x RTX 3090 (280 W cap, no NVLink)",
    "settings": {
        "context_length": 2048,
        "per_gpu_batch_size": 2,
        "dataset": "dummy (constant length)",
        "gradient_checkpointing": "reentrant",
        "cpu_offload": True,
        "sharding": "full shard over 2 GPUs",
        "precision": "bf16",
        "lora": {"r": 64, "dropout": 0.1, "targets": ["q", "v"]},
        "optimizer": "AdamW",
    },
    "metric": "peak reserved per GPU",
    "value": 14.0,
    "grade": "B",
}
CASES: Final = (
    (fsdp_qlora, FSDP),
    (litgpt, LITGPT),
    (qwen_profiling, QWEN),
    (ms_swift_benchmark, SWIFT),
    (torchtune, TORCHTUNE),
)


@pytest.mark.parametrize(("source", "row"), CASES, ids=lambda part: getattr(part, "__name__", ""))
def test_known_model_is_run(source: Any, row: dict[str, Any]) -> None:
    """A row of a model that is written down is run, whatever its length and batch are."""
    assert isinstance(source.plan(row).run, Run)


@pytest.mark.parametrize(("source", "row"), CASES, ids=lambda part: getattr(part, "__name__", ""))
def test_unknown_model_is_listed(source: Any, row: dict[str, Any]) -> None:
    """A row of another model is listed with its name in the reason."""
    run = source.plan({**row, "model": "nobody/nothing-1b"}).run

    assert isinstance(run, NotRebuilt)
    assert "nothing-1b" in run.reason


@pytest.mark.parametrize(("source", "row"), CASES, ids=lambda part: getattr(part, "__name__", ""))
def test_row_without_value_is_listed(source: Any, row: dict[str, Any]) -> None:
    """A row without a measured value is listed as that."""
    run = source.plan({**row, "value": None}).run

    assert isinstance(run, NotRebuilt)
    assert run.reason.startswith("the source has no value for this row")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"sharding": "pipeline"}, "sharding 'pipeline'"),
        ({"precision": "fp16"}, "precision 'fp16'"),
        ({"optimizer": "SGD"}, "optimizer 'SGD'"),
        ({"gradient_checkpointing": "selective"}, "checkpoints 'selective'"),
        ({"gradient_accumulation": 4}, "gradient_accumulation"),
    ],
)
def test_unknown_setting_is_listed(changed: dict[str, Any], reason: str) -> None:
    """A row of FSDP with a setting that the script does not follow is listed with it, instead of run without."""
    run = fsdp_qlora.plan({**FSDP, "settings": {**FSDP["settings"], **changed}}).run

    assert isinstance(run, NotRebuilt)
    assert reason in run.reason


def test_every_rank_is_run() -> None:
    """A row over several cards says how many ranks there are, and how they shard."""
    run = fsdp_qlora.plan({**FSDP, "settings": {**FSDP["settings"], "sharding": "ddp (FSDP NO_SHARD)"}}).run

    assert isinstance(run, Run)
    assert ("NO_SHARD", 2, "rtx3090") == (run.settings["strategy"], run.settings["world_size"], run.card)


def test_out_of_memory_is_a_verdict() -> None:
    """A row that ran out of memory has the verdict alone to compare, which is 1 if the emulated card runs out too."""
    plan = litgpt.plan({**LITGPT, "value": None, "oom": True})

    assert {litgpt.VERDICT: 1.0} == plan.measured
    assert isinstance(plan.run, Run)
    assert [1.0, 0.0] == [plan.run.counters({"max_allocated_bytes": 1, "fits": fits})[litgpt.VERDICT] for fits in (False, True)]


def test_lengths_keep_below_the_limit() -> None:
    """Samples of ms-swift that are above the limit are left out, so that hardly one has its length."""
    found = ms_swift_benchmark.lengths(512)

    assert ms_swift_benchmark.STEPS * ms_swift_benchmark.ACCUMULATED == len(found)
    assert ms_swift_benchmark.SHORTEST_TOKENS <= min(found) < max(found) <= 512
    assert found.count(512) < len(found) / 100


class Answered(runner.Runner):
    """Answers every question without a process, with the packages that it asks for as versions."""

    def _answer(self, _key: str, _order: str, _era: str, packages: tuple[str, ...]) -> dict[str, Any]:
        """Return an answer."""
        return {"counted": {"bytes": 2}, "versions": dict.fromkeys(packages, "asked"), "gaps": []}


@pytest.mark.parametrize(("today", "package"), [(False, "of-the-row"), (True, "of-today")])
def test_packages_are_those_of_the_versions(tmp_path: Path, *, today: bool, package: str) -> None:
    """A row names what it needs beside the versions of its time, and what beside those of today."""
    run = Run(
        script="none",
        era="none",
        card="none",
        settings={},
        packages=("of-the-row",),
        packages_today=("of-today",),
        counters=lambda counted: {"peak": counted["bytes"]},
    )
    plan = Plan(source="none", identity="none", grade="C", measured={"peak": 1.0}, run=run)

    [[comparison]] = Answered(Environments(tmp_path, keep=False), today=today).compare([plan])

    assert [package] == list(comparison.versions)


def test_contradiction_takes_the_value_away(tmp_path: Path) -> None:
    """A row whose run shows that it contradicts itself is listed with the reason."""
    run = Run(
        script="none",
        era="none",
        card="none",
        settings={},
        counters=lambda counted: {"peak": counted["bytes"]},
        contradiction=lambda counted: f"{counted['bytes']} bytes are more than the peak",
    )
    plan = Plan(source="none", identity="none", grade="C", measured={"peak": 1.0}, run=run)

    [[comparison]] = Answered(Environments(tmp_path, keep=False), today=True).compare([plan])

    assert comparison.emulated is None
    assert comparison.note == "2 bytes are more than the peak"
