"""Latency by sparsity, and the sparsity that a wanted latency takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn

from suite import kernel
from suite.paths import timing_lock
from suite.profile import call_latency
from suite.profile.latency import TOLERANCE


class Point(NamedTuple):
    """A share of blocks removed, 0 to below 1, and the median ms that the network then takes on one thread."""

    sparsity: float
    ms: float
    noisy: bool = False


def latency_curve(networks: Mapping[float, nn.Module], example: Tensor) -> list[Point]:
    """The latency of networks by their sparsity, ascending, timed against each other in about a second each.

    RuntimeError for a plan whose output is not torch's.
    """
    plans = {}
    for sparsity, network in networks.items():
        plans[f"{sparsity}"] = plan = kernel.lower(network, example)
        if not (error := kernel.check(plan, network, example)) < TOLERANCE:
            raise RuntimeError(f"the output of the plan at {sparsity:.0%} differs from torch's by {error:.2g}, so nothing was timed")
    timings = call_latency({name: partial(plan, example) for name, plan in plans.items()}, timing_lock(), calls=50, seconds=1.0)
    return [Point(sparsity, timings[f"{sparsity}"]["median_ms"], timings[f"{sparsity}"]["noisy"]) for sparsity in sorted(networks)]


def sparsity_for(points: Sequence[Point], wanted: float) -> float | None:
    """The smallest sparsity at which a curve of ascending sparsity is at `wanted` ms or below, on straight lines between its
    points; None where it never is."""
    if points[0].ms <= wanted:
        return points[0].sparsity
    for before, after in pairwise(points):
        if after.ms <= wanted:
            return before.sparsity + (after.sparsity - before.sparsity) * (before.ms - wanted) / (before.ms - after.ms)
    return None
