"""The latency protocol: warm-up, interleaved rounds, medians with intervals, and a verdict on noise.

Contenders take turns in rotating order, so that a slow minute of the machine hits all of them alike and their ratio
survives it. A turn begins with calls that do not count: they find the caches and the spinning threads of the one before.
"""

from __future__ import annotations

import copy
import dataclasses
import gc
import itertools
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from suite.profile.machine import physical_cores

if TYPE_CHECKING:
    from torch import Tensor, nn

    from suite.kernel import Plan

WARM_CALLS = 10
WARM_SHARE = 0.1  # of `seconds`; whichever comes first ends the warm-up
SETTLE, TURN = 3, 5  # calls of a network's turn that do not count, and that do
LEAST_FOR_INTERVAL = 6  # with fewer calls not even the extremes enclose the median with 95 % confidence
TOLERANCE = 1e-4  # relative error of a plan's output against torch
ZEROS_WORTH_A_WORD = 0.01  # share of MACs on zero weights, of which the plan must leave out half not to be "theoretical"


class Timing(TypedDict):
    """Milliseconds per call; ``low_ms .. high_ms`` is a 95 % interval of the median."""

    median_ms: float
    p90_ms: float
    low_ms: float
    high_ms: float
    calls: int
    noisy: bool


def measure(
    contenders: Mapping[str, Callable[[], object]],
    *,
    calls: int = 100,
    seconds: float = 2.0,
    limit: float = 20.0,
    settle: int = 0,
    turn: int = 1,
    each: int = 1,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, Timing]:
    """Time the contenders against each other; where a call does its work `each` times, the figures are of one.

    Rounds go on until each contender has `calls` calls or `seconds` of its own time, and end after `limit` seconds of
    wall time, warm-up included; there is at least one round. In its turn a contender makes `settle` calls that do not
    count, which put an end to what the one before left in caches and spinning threads, and then `turn` that do. `clock`
    gives nanoseconds.
    """
    names = list(contenders)
    spent: dict[str, list[int]] = {name: [] for name in names}
    end = clock() + round(limit * 1e9)

    def call(name: str) -> int:
        start = clock()
        contenders[name]()
        return clock() - start

    def unfinished(name: str) -> bool:
        return len(spent[name]) < calls and sum(spent[name]) < seconds * 1e9

    collecting = gc.isenabled()
    gc.disable()  # a collection would be charged to whoever happens to run
    try:
        for name in names:
            warm = 0
            for _ in range(WARM_CALLS):
                warm += call(name)
                if warm >= WARM_SHARE * seconds * 1e9 or clock() >= end:
                    break
        for round_ in itertools.count():
            first = round_ % max(1, len(names))
            for name in names[first:] + names[:first]:
                for _ in range(settle):
                    call(name)
                spent[name] += [call(name) for _ in range(turn)]
            if clock() >= end or not any(unfinished(name) for name in names):
                break
    finally:
        if collecting:
            gc.enable()
    return {name: summary([value / 1e6 / each for value in spent[name]]) for name in names}


def summary(milliseconds: Sequence[float]) -> Timing:
    """The figures of one contender's calls, given in the order in which they were made.

    Noisy: the 90th percentile exceeds the median by a fifth, the medians of the two halves differ by more than 5 %, or
    the calls are too few for an interval.
    """
    count, ordered = len(milliseconds), sorted(milliseconds)
    median = statistics.median(ordered)
    p90 = ordered[math.ceil(0.9 * count) - 1]
    low, high = median_ranks(count)
    noisy = count < LEAST_FOR_INTERVAL or p90 > 1.2 * median
    if not noisy:
        early, late = (statistics.median(half) for half in (milliseconds[: count // 2], milliseconds[count // 2 :]))
        noisy = abs(early - late) > 0.05 * median
    return Timing(
        median_ms=median, p90_ms=p90, low_ms=ordered[low - 1], high_ms=ordered[high - 1], calls=count, noisy=noisy
    )


def median_ranks(count: int) -> tuple[int, int]:
    """Ranks (from 1) of the two order statistics that enclose the median with at least 95 % confidence.

    The number of calls below the median is binomial(count, 1/2) whatever the distribution (W. J. Conover, *Practical
    Nonparametric Statistics*, 3rd ed., 1999, Sec. 3.2); the narrowest symmetric pair is taken, the extremes below six.
    """
    def probability(below: int) -> float:
        ways = math.lgamma(count + 1) - math.lgamma(below + 1) - math.lgamma(count - below + 1)
        return math.exp(ways - count * math.log(2))

    low = (count + 1) // 2
    confidence = 0.0 if count % 2 else probability(low)  # of ranks low .. count + 1 - low
    while confidence < 0.95 and low > 1:
        low -= 1
        confidence += 2 * probability(low)
    return low, count + 1 - low


def call_latency(
    contenders: Mapping[str, Callable[[], object]], lock: Path, *, calls: int = 30, seconds: float = 0.3
) -> dict[str, Timing]:
    """Time functions that are no networks (post-processing, suppression) against each other: `measure` on one thread,
    without gradients, one command at a time under the file `lock`.
    """
    import torch

    before = torch.get_num_threads()
    with alone(lock), torch.inference_mode():
        try:
            torch.set_num_threads(1)
            return measure(contenders, calls=calls, seconds=seconds, limit=5.0)
        finally:
            torch.set_num_threads(before)


def network_latency(
    network: nn.Module, inputs: Sequence[Tensor | tuple[Any, ...]], lock: Path, *, gradients: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Time `network` in the shared kernel: the ``latency`` and ``kernel`` parts of a record's profile.

    `inputs` are float32 images (1, C, H, W), or tuples of positional arguments. Of one shape, the calls cycle through them, so
    the figures are over all. Of several, a plan is made for each shape, and a call goes through all inputs: the figures are
    means over them, of as many calls. Timed are the plan with its zeros ("sparse"), the plan of the same network without use of
    zeros ("dense") and torch eager ("torch"), for one thread and for all physical cores, one command at a time under the file
    `lock`. What the plans cannot take, the whole of a network that back-propagates (`gradients`) for one, is timed in torch.
    The plans' outputs are compared with torch first; RuntimeError where they disagree, and nothing is timed.
    ``kernel["layers"]`` and ``kernel["bytes"]`` describe the sparse plan of the first input, ``kernel["shapes"]`` counts plans.
    """
    import torch
    from torch.utils._pytree import tree_map_only

    from suite import kernel

    network = copy.deepcopy(network).cpu().eval()
    calls = [kernel.arguments(tree_map_only(torch.Tensor, lambda item: item.detach().cpu(), item)) for item in inputs]
    cores = physical_cores()
    plans = {threads: {kind: _lowered(network, calls, kind == "dense", threads, gradients) for kind in ("dense", "sparse")}
             for threads in {1, cores}}
    errors = {(threads, kind): kernel.largest(kernel.check(plan, network, call) for plan, call in zip(found, calls, strict=True))
              for threads, made in plans.items() for kind, found in made.items()}
    for (threads, kind), error in errors.items():
        if not error < TOLERANCE:  # not: NaN is wrong too
            raise RuntimeError(
                f"the output of the {kind} plan on {threads} thread(s) differs from torch's by {error:.2g} (relative), "
                f"{TOLERANCE:g} is allowed, so nothing was timed"
            )
    facts = _facts(network, calls[0], plans[1]["sparse"], max(errors.values()))
    before = torch.get_num_threads()
    with alone(lock), torch.inference_mode(not gradients):
        try:
            latency = {"one": _race(network, plans[1], calls, 1)}
            latency["all"] = _race(network, plans[cores], calls, cores) if cores > 1 else copy.deepcopy(latency["one"])
        finally:
            torch.set_num_threads(before)
    for name in ("torch", *plans[1]):
        # Threads that wait for a preempted one are slow steadily (hundredfold), which no spread gives away.
        if latency["all"][name]["median_ms"] > 2 * latency["one"][name]["median_ms"]:
            latency["all"][name]["noisy"] = True
    return latency, facts


def _lowered(network: nn.Module, calls: Sequence[tuple[Any, ...]], dense: bool, threads: int, gradients: bool) -> list[Plan]:
    """A plan for each of `calls`, the same one for those of one shape."""
    from suite import kernel

    found: list[Plan] = []
    for call in calls:
        known = (plan for plan in found if plan.signature == kernel.signature(call))
        found.append(next(known, None) or kernel.lower(network, call, dense=dense, threads=threads, gradients=gradients))
    return found


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold the file `lock`; where another user's file refuses this one, a lock of this user's own beside it."""
    from filelock import FileLock

    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock, mode=0o666)
    try:
        held.acquire()
    except PermissionError:
        held = FileLock(lock.with_name(f"{lock.stem}-{os.getuid()}{lock.suffix}"))
        held.acquire()
    try:
        yield
    finally:
        held.release()


def _facts(network: nn.Module, call: tuple[Any, ...], plans: Sequence[Plan], error: float) -> dict[str, Any]:
    """What the record says of the sparse plans: of the first, which is for `call`."""
    from suite.cost import count
    from suite.kernel import VERSION

    plan = plans[0]
    cost = count(network, call, plan.gradients)
    on_zeros = cost.macs - cost.macs_effective
    left_out = sum(layer.macs * (1 - layer.kept) for layer in plan.layers)
    return {
        "version": VERSION,
        "simd": plan.simd,
        "relative_error": error,
        "macs_share": plan.macs_share,
        "outside": list(plan.outside),
        "theoretical": on_zeros > ZEROS_WORTH_A_WORD * cost.macs and left_out < on_zeros / 2,
        "shapes": len(set(map(id, plans))),
        "bytes": plan.bytes,
        "layers": [dataclasses.asdict(layer) for layer in plan.layers],
    }


def _race(
    network: nn.Module, plans: Mapping[str, Sequence[Plan]], calls: Sequence[tuple[Any, ...]], threads: int
) -> dict[str, Any]:
    """torch eager, the dense and the sparse plans against each other with `threads` threads."""
    import torch

    torch.set_num_threads(threads)
    mixed = len(set(map(id, plans["sparse"]))) > 1

    def over(functions: Sequence[Callable[..., object]]) -> Callable[[], object]:
        bound = [partial(function, *call) for function, call in zip(functions, calls, strict=True)]
        turn = itertools.cycle(bound)
        return (lambda: [function() for function in bound]) if mixed else (lambda: next(turn)())

    contenders = {"torch": over([network] * len(calls)), **{name: over(found) for name, found in plans.items()}}
    timings = measure(contenders, settle=SETTLE, turn=TURN, each=len(calls) if mixed else 1)
    sparse = timings["sparse"]["median_ms"]
    return {
        "threads": threads,
        **timings,
        "speedup": timings["dense"]["median_ms"] / sparse,
        "speedup_torch": timings["torch"]["median_ms"] / sparse,
    }
