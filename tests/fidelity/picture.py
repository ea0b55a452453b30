"""A scatter plot of emulated against measured bytes, as SVG, on logarithmic axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fidelity.rows import Comparison

SIZE: Final = 640
MARGIN: Final = 60
COLOURS: Final = (
    *("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b"),
    *("#17becf", "#7f7f7f", "#bcbd22", "#e377c2", "#000000", "#aec7e8"),
)


def scatter(comparisons: Sequence[Comparison]) -> str:
    """Return the picture; windows are left out, since they lie on top of each other, and so is a verdict that is wrong."""
    shown = [item for item in comparisons if item.emulated and ", window " not in item.metric]
    gib = [value / 2**30 for item in shown for value in (item.measured, item.emulated or 0.0)]
    low, high = 2.0 ** math.floor(math.log2(min(gib))), 2.0 ** math.ceil(math.log2(max(gib)))
    sources = sorted({item.source for item in shown})
    colours = dict(zip(sources, COLOURS, strict=False))

    def place(value: float) -> float:
        return MARGIN + (SIZE - 2 * MARGIN) * math.log(value / low) / math.log(high / low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {SIZE}" font-family="sans-serif" font-size="12">',
        f'<rect width="{SIZE}" height="{SIZE}" fill="white"/>',
        f'<path d="M{MARGIN} {SIZE - MARGIN}L{SIZE - MARGIN} {MARGIN}" stroke="#bbb"/>',
        f'<text x="{SIZE / 2}" y="{SIZE - 12}" text-anchor="middle">measured, GiB</text>',
        f'<text x="16" y="{SIZE / 2}" text-anchor="middle" transform="rotate(-90 16 {SIZE / 2})">emulated, GiB</text>',
    ]
    for power in range(int(math.log2(low)), int(math.log2(high)) + 1):
        at = place(2.0**power)
        parts.append(f'<text x="{at:.1f}" y="{SIZE - MARGIN + 20}" text-anchor="middle">{2.0**power:g}</text>')
        parts.append(f'<text x="{MARGIN - 8}" y="{SIZE - at + 4:.1f}" text-anchor="end">{2.0**power:g}</text>')
    parts += [
        f'<circle cx="{place(item.measured / 2**30):.1f}" cy="{SIZE - place((item.emulated or 0.0) / 2**30):.1f}" r="3"'
        f' fill="{colours[item.source]}" fill-opacity="0.6"/>'
        for item in shown
    ]
    for index, source in enumerate(sources):
        parts.append(f'<circle cx="{MARGIN + 12}" cy="{MARGIN + 18 * index}" r="4" fill="{colours[source]}"/>')
        parts.append(f'<text x="{MARGIN + 22}" y="{MARGIN + 18 * index + 4}">{source}</text>')
    return "\n".join([*parts, "</svg>", ""])
