"""Latency by sparsity, and the sparsity that a wanted latency takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from math import ceil
from typing import NamedTuple

from torch import Tensor, nn

from suite import kernel
from suite.errors import UserError
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

    UserError for a plan whose output is not torch's.
    """
    plans = {}
    for sparsity, network in networks.items():
        plans[f"{sparsity}"] = plan = kernel.lower(network, example)
        if not (error := kernel.check(plan, network, example)) < TOLERANCE:
            raise UserError(f"Nothing was timed: the output of the plan at a sparsity of {sparsity:g} differs from torch's by "
                            f"{error:.2g} (relative), and {TOLERANCE:g} is allowed.")
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


def proposal(points: Sequence[Point], wanted: float, arch: str, n: int, size: int) -> list[str]:
    """A measured curve of the network `arch` for images of `size` pixels, in sentences for people: which sparsity in 1x`n` blocks
    reaches `wanted` ms, and the command that prunes to it."""
    said = [f"  {point.sparsity:4.0%} of the 1x{n} blocks removed: {point.ms:.3f} ms{' (noisy)' if point.noisy else ''}"
            for point in points]
    found = sparsity_for(points, wanted)
    if found is None:
        least = min(point.ms for point in points)
        return [*said, f"{wanted:g} ms are not reached: {least:.3f} ms is the least on one thread of this machine. Take a smaller "
                "network or --size, or a higher --sparsity."]
    if found == 0:
        return [*said, f"{wanted:g} ms are reached without pruning on one thread of this machine."]
    share = ceil(found * 100 - 1e-9) / 100
    measured = any(point.sparsity == found for point in points)
    how = "as measured" if measured else "read off a straight line between two measured points"
    task, more = ("cifar10", "") if size == 32 else ("imagenet", f" task.size={size}")
    return [*said, f"{wanted:g} ms on one thread of this machine take a sparsity of {share:.2f}, {how}. Next, with your data:",
            f"  suite run {task} one_by_n arch={arch} n={n} sparsity={share:.2f}{more} --data DIR"]
