"""What a project can ask of the plugin, and whether it does: options, their ini twins, the marker, the fixture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pytest

MARKER_HELP: Final = (
    "vram(max_gb=None, band=None, phases=None, min_seq_len=None, min_batch_size=None, max_growth=None, max_shrink=None, "
    "max_creep=None, max_slowdown=None, max_syncs=None, max_driver_allocations=None, max_launches_growth=None, "
    "max_syncs_growth=None, max_copied_growth=None, max_flops_growth=None, target=None, steps=None, warmup=None): "
    "measure the peak GPU memory of the test and fail it when that is above the target card, or when one of the limits given "
    "here is not kept; the README says what each of them judges."
)
OPTIONS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "target": (
        "card to judge vram tests against, or several separated by commas, as in rtx3060,t4 (list: vramguard cards)",
        {},
    ),
    "device": (
        "run vram tests on a real card (cuda), on an emulated one, or (auto) on a real one if there is one",
        {"metavar": None, "choices": ("auto", "cuda", "emulated")},
    ),
    "json": ("write the vram report as JSON to this path", {}),
    "steps": ("training steps of a recipe after the warm-up", {"type": int}),
    "warmup": ("training steps of a recipe before those", {"type": int}),
    "artifacts": ("leave a snapshot of the allocator's history, for pytorch.org/memory_viz, of each failed case here", {}),
    "accept": ("make the measurements of this run the baselines; growth is not judged then", {"action": "store_true"}),
}
"""Help of each option, and what argparse is told besides."""
INI: Final[dict[str, str]] = {
    **{name: text for name, (text, _details) in OPTIONS.items() if name != "accept"},
    "max_growth": "how much the allocated peak of vram tests may be above its baseline, as in 1%, 64MiB or 1%+8MiB",
    "max_shrink": "how much it may be below its baseline",
    "max_syncs": "how often the host may wait for an emulated card in a steady step of vram tests",
    "max_driver_allocations": "how many allocations of a steady step may reach the driver of an emulated card",
    "max_launches_growth": "how many more kernels and library calls than its baseline a steady step may launch, as in 1%+10",
    "max_syncs_growth": "how much more often than in its baseline the host may wait in a steady step",
    "max_copied_growth": "how many more bytes than in its baseline a steady step may copy, as in 1%+8MiB",
    "max_flops_growth": "how many more floating-point operations than its baseline a steady step may take, as in 1%",
    "max_creep": "how much the memory held after each training step may rise a step, as in 0 or 64KiB",
    "max_slowdown": "how much longer a training step may take than before, as in 10%; judged on a real card",
    "job_spread": "how far jobs on this machine are apart that run the same code (default: 26%)",
    "baselines": "folder of the baselines (default: vram-baselines)",
    "require_baseline": "whether a vram test without a baseline fails where a gate compares with one (true or false)",
}
"""Help of each ini option."""


def asks(config: pytest.Config) -> bool:
    """Return whether the command line, the ini file or `pyproject.toml` asks for anything of ours."""
    said = [getattr(config.known_args_namespace, f"vram_{name}", None) is not None for name in OPTIONS]
    if any(said) or any(config.getini(f"vram_{name}") for name in INI):
        return True
    pyproject = config.rootpath / "pyproject.toml"
    return pyproject.is_file() and b"vramguard" in pyproject.read_bytes()


def is_case(item: pytest.Item) -> bool:
    """Return whether a test is to be measured: it has the marker, or it uses the fixture."""
    return item.get_closest_marker("vram") is not None or "vram" in getattr(item, "fixturenames", ())
