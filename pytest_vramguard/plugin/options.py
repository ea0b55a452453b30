"""What a project can ask of the plugin, and whether it does: options, their ini twins, the marker, the fixture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pytest

MARKER_HELP: Final = (
    "vram(max_gb=None, band=None, phases=None, min_seq_len=None, min_batch_size=None, max_growth=None, max_shrink=None, "
    "max_creep=None, target=None, steps=None, warmup=None): "
    "measure the peak GPU memory of the test and fail it when that is above the target card or above max_gb GiB, when its "
    "share of the card lies outside band=(low, high), when that of a phase is above its limit in phases={'load': '10GB'}, "
    "when vram.longest finds less than min_seq_len or min_batch_size, "
    "when it is above or below the accepted baseline by more than max_growth "
    "or max_shrink, or when the memory held after each step rises by more than max_creep."
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
    "accept": ("make the measurements of this run the baselines; growth is not judged then", {"action": "store_true"}),
}
"""Help of each option, and what argparse is told besides."""
INI: Final[dict[str, str]] = {
    **{name: text for name, (text, _details) in OPTIONS.items() if name != "accept"},
    "max_growth": "how much the allocated peak of vram tests may be above its baseline, as in 1%, 64MiB or 1%+8MiB",
    "max_shrink": "how much it may be below its baseline",
    "max_creep": "how much the memory held after each training step may rise a step, as in 0 or 64KiB",
    "baselines": "folder of the baselines (default: vram-baselines)",
    "require_baseline": "whether a vram test without a baseline fails where growth is judged (true or false)",
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
