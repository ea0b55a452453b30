"""Curves through a few sampled steps."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def least_squares(rows: Sequence[Sequence[float]], values: Sequence[float]) -> list[float]:
    """Return the coefficients with which the features in `rows` come nearest to `values`, by the normal equations.

    Columns are scaled to their largest value first, since squares of lengths stand beside ones.
    """
    scales = [max(abs(row[column]) for row in rows) or 1.0 for column in range(len(rows[0]))]
    scaled = [[value / scale for value, scale in zip(row, scales, strict=True)] for row in rows]
    size = len(scales)
    matrix = [
        [sum(row[i] * row[j] for row in scaled) for j in range(size)]
        + [sum(row[i] * value for row, value in zip(scaled, values, strict=True))]
        for i in range(size)
    ]
    return [value / scale for value, scale in zip(_solved(matrix), scales, strict=True)]


def _solved(matrix: list[list[float]]) -> list[float]:
    """Solve linear equations, the right side in the last column, by Gauss-Jordan elimination with pivots."""
    size = len(matrix)
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(matrix[row][column]))
        matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
        for row in range(size):
            if row != column:
                factor = matrix[row][column] / matrix[column][column]
                matrix[row] = [a - factor * b for a, b in zip(matrix[row], matrix[column], strict=True)]
    return [matrix[row][size] / matrix[row][row] for row in range(size)]


def value_of(coefficients: Sequence[float], features: Sequence[float]) -> float:
    """Return the value of a curve."""
    return sum(a * b for a, b in zip(coefficients, features, strict=True))


def line_through(points: Sequence[tuple[float, float]], place: float) -> float:
    """Return the value at `place` of straight lines between points in ascending order, the outer ones prolonged."""
    left, right = next((pair for pair in pairwise(points) if place <= pair[1][0]), (points[-2], points[-1]))
    return left[1] + (right[1] - left[1]) * (place - left[0]) / (right[0] - left[0])


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile, between two values by their distance, as numpy does it."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    return ordered[low] + (ordered[min(low + 1, len(ordered) - 1)] - ordered[low]) * (place - low)


def median_ranks(count: int) -> list[float]:
    """Return for each of `count` draws in ascending order the share of the distribution below it, in the median.

    By the approximation of Benard and Bos-Levenbach, "Het uitzetten van waarnemingen op waarschijnlijkheids-papier",
    Statistica Neerlandica 7 (1953).
    """
    return [(rank - 0.3) / (count + 0.4) for rank in range(1, count + 1)]
