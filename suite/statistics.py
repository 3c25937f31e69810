"""The few statistics that tables and claims rest on, on plain lists of numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple


class Interval(NamedTuple):
    """A confidence interval of a mean, in the unit of the numbers it was made from."""

    mean: float
    low: float
    high: float
    count: int  # type: ignore[assignment]  # numbers, or pairs, that it rests on


def mean(values: Sequence[float]) -> float | None:
    """The arithmetic mean; None of nothing."""
    return statistics.fmean(values) if values else None


def deviation(values: Sequence[float]) -> float | None:
    """The sample standard deviation (divisor n - 1); None of fewer than two numbers."""
    return statistics.stdev(values) if len(values) > 1 else None


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Student's t-interval of the mean, mean ± t(n - 1) s / sqrt(n); None of fewer than two numbers.

    `confidence` lies in (0, 1). Source: Student, "The probable error of a mean", Biometrika 6 (1908); the quantile is
    ``scipy.stats.t.ppf``. Equal numbers give an interval of no width.
    """
    spread = deviation(values)
    if spread is None:
        return None
    from scipy.stats import t

    centre = statistics.fmean(values)
    half = float(t.ppf((1 + confidence) / 2, len(values) - 1)) * spread / math.sqrt(len(values))
    return Interval(centre, centre - half, centre + half, len(values))


def break_even(sparsities: Sequence[float], speedups: Sequence[float]) -> float | None:
    """The sparsity (0..1) where a measured speed-up first reaches 1, interpolated linearly between measurements.

    None where it never does, or where fewer than two sparsities were measured; the lowest one measured if it is already
    no slower there. Several speed-ups at one sparsity are averaged.
    """
    points = [
        (sparsity, statistics.fmean(speed for other, speed in zip(sparsities, speedups, strict=True) if other == sparsity))
        for sparsity in sorted(set(sparsities))
    ]
    if len(points) < 2:
        return None
    if points[0][1] >= 1:
        return points[0][0]
    for (left, slow), (right, fast) in pairwise(points):
        if fast >= 1:
            return left + (1 - slow) / (fast - slow) * (right - left)
    return None


def interpolated(x: float, xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """The height at `x` of the piecewise linear line through the points (`xs`, `ys`), in whatever order; None outside of them.

    Points of one x count as their mean.
    """
    heights: dict[float, list[float]] = {}
    for place, height in zip(xs, ys, strict=True):
        heights.setdefault(place, []).append(height)
    points = [(place, statistics.fmean(found)) for place, found in sorted(heights.items())]
    if not points or not points[0][0] <= x <= points[-1][0]:
        return None
    if len(points) == 1:
        return points[0][1]
    (left, low), (right, high) = next(pair for pair in pairwise(points) if x <= pair[1][0])
    return low + (x - left) / (right - left) * (high - low)
