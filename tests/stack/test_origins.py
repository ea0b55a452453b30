"""Where the memory at the peak came from: lines, modules and finer parts, recorded without a change of any byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.modules import module as hooks
from torch.utils.checkpoint import checkpoint

from pytest_vramguard.meter.blocks import Block
from pytest_vramguard.meter.meter import Meter, clean
from pytest_vramguard.meter.modules import collapsed, paths_below
from pytest_vramguard.meter.origins import origins_of
from pytest_vramguard.reading import Measurement, Origins, OutOfMemory, Site

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.stack]

MIB = 2**20
HERE = Path(__file__)
ROWS, WIDTH, WORDS = 512, 256, 4096
LOGITS_BYTES = ROWS * WORDS * 4


class Tiny(nn.Module):
    """Two layers that are checkpointed, an output layer that the model names as those of transformers do, and a loss."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)) for _ in range(2))
        self.head = nn.Linear(WIDTH, WORDS, bias=False)

    def get_output_embeddings(self) -> nn.Module:
        """Return the layer that makes logits."""
        return self.head

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the loss."""
        for layer in self.layers:
            inputs = checkpoint(layer, inputs, use_reentrant=False)
        logits = self.head(inputs)
        return cross_entropy(logits, torch.zeros(ROWS, dtype=torch.long, device="cuda"))


def train(meter: Meter, kept: list[torch.Tensor]) -> None:
    """Train for eight steps; each leaves a megabyte in `kept`."""
    with meter.phase("load"):
        model = Tiny().cuda()
        optimizer = torch.optim.Adam(model.parameters())
    for _ in range(8):
        with meter.step():
            model(torch.empty(ROWS, WIDTH, device="cuda")).backward()
            kept.append(torch.empty(MIB, dtype=torch.uint8, device="cuda"))
            optimizer.step()
            optimizer.zero_grad()


def measured(
    code: Callable[[Meter, list[torch.Tensor]], None], below: Path | None = None, *, keeps: bool = False
) -> Measurement:
    """Return what a meter reads of `code`: with sites as seen from a folder, and with every event kept."""
    clean()
    meter = Meter(
        timed=False, warmup_steps=1, target_context_bytes=0, measures_context=True, sites_below=below, keeps_events=keeps
    )
    meter.begin()
    code(meter, [])
    reading = meter.end(None)
    assert isinstance(reading, Measurement)
    return reading


@pytest.fixture(scope="module")
def origins() -> Origins:
    """Return where the memory of the tiny training came from."""
    found = measured(train, HERE.parent).origins
    assert found is not None
    return found


def line_of(code: str) -> str:
    """Return the place of the line of this file that begins with `code`, as a site says it."""
    lines = HERE.read_text(encoding="utf-8").splitlines()
    return f"{HERE.name}:{next(number for number, line in enumerate(lines, 1) if line.strip().startswith(code))}"


def test_recording_changes_no_byte() -> None:
    """Every number of a reading is the same with stacks and labels, with all events kept, and without them."""
    plain = measured(train)
    recorded = measured(train, HERE.parent)
    kept = measured(train, HERE.parent, keeps=True)

    assert plain.origins is None
    assert [plain, plain] == [replace(reading, origins=None) for reading in (recorded, kept)]
    assert recorded.origins == kept.origins


def test_nothing_is_left_behind() -> None:
    """After a case no hook and no label is in place, and torch records nothing."""
    before = (len(hooks._global_forward_pre_hooks), len(hooks._global_forward_hooks))
    measured(train, HERE.parent)
    torch.empty(MIB, dtype=torch.uint8, device="cuda")

    assert before == (len(hooks._global_forward_pre_hooks), len(hooks._global_forward_hooks))
    assert [] == [event for events in torch.cuda.memory._snapshot()["device_traces"] for event in events]
    assert not torch._C._cuda_getMemoryMetadata()


def test_timed_steps_are_not_looked_into() -> None:
    """Where steps are timed, lines and modules are those of the warm-up, and no hook is in place while a step is timed."""
    in_place = []

    def watched(meter: Meter, kept: list[torch.Tensor]) -> None:
        layer = nn.Linear(WIDTH, WIDTH).cuda()
        for _ in range(4):
            with meter.step():
                kept.append(layer(torch.empty(ROWS, WIDTH, device="cuda")).detach())
                in_place.append(len(hooks._global_forward_hooks))

    clean()
    meter = Meter(timed=True, warmup_steps=3, target_context_bytes=0, measures_context=True, sites_below=HERE.parent)
    meter.begin()
    watched(meter, [])
    reading = meter.end(None)

    assert isinstance(reading, Measurement)
    assert reading.origins is not None
    assert [1, 1, 1, 0] == [count - min(in_place) for count in in_place]
    assert [(f"{line_of('kept.append(layer')} in watched", ROWS * WIDTH * 4)] == [
        (held.site.line, held.size_bytes) for held in reading.origins.survivors
    ]


@pytest.mark.parametrize("foreign", [False, True])
def test_what_was_refused(foreign: bool) -> None:  # noqa: FBT001 (a parameter of the test)
    """Of the allocator's own out-of-memory the refused allocation is known; one of a library is no earlier one's."""
    clean()
    meter = Meter(timed=False, warmup_steps=1, target_context_bytes=0, measures_context=True, sites_below=HERE.parent)
    meter.begin()
    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(2**42, dtype=torch.uint8, device="cuda")
    error = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED") if foreign else caught.value

    reading = meter.end(error)

    assert isinstance(reading, OutOfMemory)
    refused = None if reading.refused is None else (reading.refused.site.line, reading.refused.size_bytes)
    assert refused == (None if foreign else (f"{line_of('torch.empty(2**42')} in test_what_was_refused", 2**42))


def test_lines_are_the_users_and_the_librarys(origins: Origins) -> None:
    """A site is the innermost line of no library, with its text, beside the innermost line of a library."""
    site = next(held.site for held in origins.sites if held.site.code.startswith("return cross_entropy("))
    adam = next(held.site for held in origins.sites if held.site.code == "optimizer.step()")

    assert f"{line_of('return cross_entropy(')} in forward" == site.line
    assert site.library.startswith("torch/nn/functional.py:")
    assert adam.library.startswith("torch/optim/adam.py:")


def test_a_backward_pass_is_that_of_its_module(origins: Origins) -> None:
    """What the backward pass allocates has no line, and belongs to the module whose output it goes through."""
    backward = {held.site.module: held.size_bytes for held in origins.sites if not held.site.line and not held.site.library}

    assert backward["Tiny"] >= LOGITS_BYTES  # the gradient of the logits, which the loss makes in the model itself


def test_modules_hold_what_is_theirs(origins: Origins) -> None:
    """A module's bytes are its weights, their states and what ran in it; layers that are alike are one."""
    modules = dict(origins.modules)
    weights_bytes = 2 * 4 * WIDTH * WIDTH * 4

    assert {"layers.*.*", "head", "Tiny"} <= set(modules)
    assert modules["layers.*.*"] >= 3 * 2 * weights_bytes  # weights and Adam's two states of two layers
    assert modules["Tiny"] >= LOGITS_BYTES


def test_logits_and_workspaces_are_told_apart(origins: Origins) -> None:
    """Logits and what the loss makes of them are one share, cuBLAS's workspaces another; there is no adapter."""
    assert LOGITS_BYTES <= origins.logits_bytes <= 4 * LOGITS_BYTES
    assert origins.workspace_bytes > 0
    assert 0 == origins.adapters_bytes


def test_survivors_are_what_steps_leave_behind(origins: Origins) -> None:
    """The blocks of all steps but the first and the last that outlive the last are counted at the line that made them."""
    assert [(f"{line_of('kept.append(')} in train", 6 * MIB)] == [
        (held.site.line, held.size_bytes) for held in origins.survivors if held.size_bytes >= MIB
    ]


def test_the_list_of_sites_is_bounded() -> None:
    """Only the largest are kept by themselves, the largest first, and nothing of the others is lost."""
    blocks = [Block(device=0, address=n, size_bytes=512 * n, born=n, site=Site(line=f"a.py:{n} in f")) for n in range(1, 31)]

    found = origins_of(blocks, [], [], ())

    assert [512 * n for n in range(30, 10, -1)] == [held.size_bytes for held in found.sites]
    assert sum(512 * n for n in range(1, 11)) == found.other_sites_bytes


def test_a_compiled_module_is_called_as_before() -> None:
    """What `torch.compile` wraps around a module is not in the paths."""
    model: Any = torch.compile(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU())))

    assert ["OptimizedModule", "OptimizedModule.*", "OptimizedModule.*.*"] == sorted({path for _, path in paths_below(model)})


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("model.layers.17.mlp", "model.layers.*.mlp"),
        ("a.0.1.b2", "a.*.*.b2"),
        ("experts.31", "experts.*"),
        ("lm_head", "lm_head"),
    ],
)
def test_numbers_of_layers_are_collapsed(path: str, shown: str) -> None:
    """A part of a path that is a number is a star."""
    assert shown == collapsed(path)
