"""The latency protocol: warm-up, interleaved rounds, medians with intervals, and a verdict on noise.

Contenders take turns in rotating order, so that a slow minute of the machine hits all of them alike and their ratio
survives it. A turn begins with calls that do not count: they find the caches and the spinning threads of the one before.
"""

from __future__ import annotations

import copy
import dataclasses
import gc
import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.profile.machine import physical_cores
from suite.profile.spread import Timing, spread, summary

if TYPE_CHECKING:
    from torch import Tensor, nn

    from suite.kernel import Gate, Plan

WARM_CALLS = 10
WARM_SHARE = 0.1  # of `seconds`; whichever comes first ends the warm-up
SETTLE, TURN = 3, 5  # calls of a network's turn that do not count, and that do
RATIOS = {"speedup": "dense", "speedup_torch": "torch"}  # what is recorded over the time of the sparse plan
TOLERANCE = 1e-4  # relative error of a plan's output against torch
ZEROS_WORTH_A_WORD = 0.01  # share of MACs on zero weights, of which the plan must leave out half not to be "theoretical"


def measure(contenders: Mapping[str, Callable[[], object]], **options: Any) -> dict[str, Timing]:
    """Time the contenders against each other: the figures of each one's calls. For the `options` see `spent`."""
    return {name: summary(milliseconds) for name, milliseconds in spent(contenders, **options).items()}


def spent(
    contenders: Mapping[str, Callable[[], object]],
    *,
    calls: int = 100,
    seconds: float = 2.0,
    limit: float = 20.0,
    settle: int = 0,
    turn: int = 1,
    each: int = 1,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, list[float]]:
    """Milliseconds of every call that counts, in order, of contenders that take turns: `turn` in every round, as many rounds for
    each. Where a call does its work `each` times, the figures are of one.

    Rounds go on until each contender has `calls` calls or `seconds` of its own time, and end after `limit` seconds of
    wall time, warm-up included; there is at least one round. In its turn a contender makes `settle` calls that do not
    count, which put an end to what the one before left in caches and spinning threads, and then `turn` that do. `clock`
    gives nanoseconds.
    """
    names = list(contenders)
    found: dict[str, list[int]] = {name: [] for name in names}
    end = clock() + round(limit * 1e9)

    def call(name: str) -> int:
        start = clock()
        contenders[name]()
        return clock() - start

    def unfinished(name: str) -> bool:
        return len(found[name]) < calls and sum(found[name]) < seconds * 1e9

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
                found[name] += [call(name) for _ in range(turn)]
            if clock() >= end or not any(unfinished(name) for name in names):
                break
    finally:
        if collecting:
            gc.enable()
    return {name: [value / 1e6 / each for value in found[name]] for name in names}


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

    ``latency["one"]`` and ``["all"]`` (threads) hold a `Timing` each for "torch", "dense" and "sparse", each noisy or not on its
    own, the ratios ``speedup`` (dense over sparse) and ``speedup_torch``, and a `Spread` of each: ``speedup_spread``.

    `inputs` are float32 images (1, C, H, W), or tuples of positional arguments. Of one shape, the calls cycle through them, so
    the figures are over all. Of several, a plan is made for each shape, and a call goes through all inputs: the figures are
    means over them, of as many calls. Timed are the plan with its zeros ("sparse"), the plan of the same network without use of
    zeros ("dense") and torch eager ("torch"), for one thread and for all physical cores, one command at a time under the file
    `lock`. What the plans cannot take, the whole of a network that back-propagates (`gradients`) for one, is timed in torch.
    The plans' outputs are compared with torch first, on every input (`suite.kernel.Gate`); RuntimeError where they disagree, and
    nothing is timed. ``kernel["checked"]`` counts the different inputs, ``kernel["mirrored"]`` those derived for want of a second.
    ``kernel["layers"]`` and ``kernel["bytes"]`` describe the sparse plan of the first input, ``kernel["shapes"]`` counts plans.
    """
    import torch
    from torch.utils._pytree import tree_map_only

    from suite import kernel
    from suite.modes import plain

    network = plain(network).cpu()
    calls = [kernel.arguments(tree_map_only(torch.Tensor, lambda item: item.detach().cpu(), item)) for item in inputs]
    cores = physical_cores()
    plans = {threads: {kind: _lowered(network, calls, kind == "dense", threads, gradients) for kind in ("dense", "sparse")}
             for threads in {1, cores}}
    facts = _facts(network, calls[0], plans[1]["sparse"]) | _checked(kernel.Gate(network, calls, gradients), plans)
    before = torch.get_num_threads()
    with alone(lock), torch.inference_mode(not gradients):
        try:
            latency = {"one": _race(network, plans[1], calls, 1)}
            latency["all"] = _race(network, plans[cores], calls, cores) if cores > 1 else copy.deepcopy(latency["one"])
        finally:
            torch.set_num_threads(before)
    _mark_preempted(latency)
    return latency, facts


def _mark_preempted(latency: dict[str, Any]) -> None:
    """Mark as noisy what is much slower on all cores than on one, and the ratios with it: threads that wait for a preempted one are
    slow steadily (hundredfold), which no spread gives away."""
    for name in ("torch", "dense", "sparse"):
        if latency["all"][name]["median_ms"] > 2 * latency["one"][name]["median_ms"]:
            latency["all"][name]["noisy"] = True
            for ratio in RATIOS if name == "sparse" else [ratio for ratio, above in RATIOS.items() if above == name]:
                latency["all"][f"{ratio}_spread"]["noisy"] = True


def _lowered(network: nn.Module, calls: Sequence[tuple[Any, ...]], dense: bool, threads: int, gradients: bool) -> list[Plan]:
    """A plan for each of `calls`, the same one for those of one shape."""
    from suite import kernel

    found: list[Plan] = []
    for call in calls:
        known = (plan for plan in found if plan.signature == kernel.signature(call))
        found.append(next(known, None) or kernel.lower(network, call, dense=dense, threads=threads, gradients=gradients))
    return found


def _checked(gate: Gate, plans: Mapping[int, Mapping[str, Sequence[Plan]]]) -> dict[str, Any]:
    """The largest error of the plans, by threads and kind, and on how many inputs. RuntimeError where one is wrong."""
    from suite.kernel import largest

    errors = list[float]()
    for threads, made in plans.items():
        for kind, found in made.items():
            errors.append(error := largest(gate.error(plan) for plan in {id(plan): plan for plan in found}.values()))
            if not error < TOLERANCE:  # not: NaN is wrong too
                raise RuntimeError(
                    f"the output of the {kind} plan on {threads} thread(s) differs from torch's by {error:.2g} (relative), "
                    f"{TOLERANCE:g} is allowed, so nothing was timed"
                )
    return {"relative_error": max(errors), "checked": gate.given, "mirrored": gate.mirrored}


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


def _facts(network: nn.Module, call: tuple[Any, ...], plans: Sequence[Plan]) -> dict[str, Any]:
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
    found = spent(contenders, settle=SETTLE, turn=TURN, each=len(calls) if mixed else 1)
    timings = {name: summary(milliseconds) for name, milliseconds in found.items()}
    return {
        "threads": threads,
        **timings,
        **{ratio: timings[above]["median_ms"] / timings["sparse"]["median_ms"] for ratio, above in RATIOS.items()},
        **{f"{ratio}_spread": spread(found[above], found["sparse"], TURN) for ratio, above in RATIOS.items()},
    }
