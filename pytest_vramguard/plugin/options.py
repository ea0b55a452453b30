"""What a project can ask of the plugin, and whether it does: options, their ini twins, the marker, the fixture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pytest

MARKER_HELP: Final = (
    "vram(max_gb=None, band=None, target=None, steps=None, warmup=None): measure the peak GPU memory of the test and fail it "
    "when that is above the target card or above max_gb GiB, or when its share of the card lies outside band=(low, high)."
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
}
"""Help of each option, and what argparse is told besides."""


def asks(config: pytest.Config) -> bool:
    """Return whether the command line, the ini file or `pyproject.toml` asks for anything of ours."""
    said = [getattr(config.known_args_namespace, f"vram_{name}", None) is not None for name in OPTIONS]
    if any(said) or any(config.getini(f"vram_{name}") for name in OPTIONS):
        return True
    pyproject = config.rootpath / "pyproject.toml"
    return pyproject.is_file() and b"vramguard" in pyproject.read_bytes()


def is_case(item: pytest.Item) -> bool:
    """Return whether a test is to be measured: it has the marker, or it uses the fixture."""
    return item.get_closest_marker("vram") is not None or "vram" in getattr(item, "fixturenames", ())
