"""The latency of networks that a method chooses among: measured once for every structure, whatever the weights."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from suite.modes import plain
from suite.profile.latency import TOLERANCE, alone, measure
from suite.profile.machine import machine

CALLS, SECONDS = 50, 0.5  # whichever comes first ends a measurement


def latency(network: nn.Module, inputs: Tensor | tuple[Any, ...]) -> float:
    """Median ms of `network` on `inputs`, (1, C, H, W) or positional arguments, on one thread in the shared kernel; in torch where
    no plan is right.

    Measured in about a second under the machine's timing lock and kept in the cache: networks of one `structure` have one
    number on a machine with one version of kernel and torch.
    """
    from suite import kernel
    from suite.paths import cache_folder, timing_lock
    from suite.record import write_text

    network, call = plain(network).cpu(), kernel.arguments(inputs)
    place = {"machine": machine()["id"], "simd": kernel.simd_path(), "kernel": kernel.VERSION, "torch": torch.__version__}
    digest = hashlib.sha256(repr((sorted(place.items()), structure(network, call))).encode()).hexdigest()[:24]
    path = cache_folder() / "latency" / f"{digest}.json"
    if not path.exists():
        with alone(timing_lock()):
            if not path.exists():  # another process may have measured it meanwhile
                write_text(path, json.dumps({**place, "median_ms": _measured(network, call)}))
    return float(json.loads(path.read_text(encoding="utf-8"))["median_ms"])


def structure(network: nn.Module, call: tuple[Any, ...]) -> str:
    """What a plan's speed depends on, as a digest: the operations in order, shapes, the layers' settings, and of every weight with
    zeros how many blocks of which width are left. A network that cannot be traced is the sum of its modules.
    """
    from suite import kernel
    from suite.kernel.graph import shape_of, traced

    parts: list[Any] = [kernel.signature(call)]
    try:
        network = graph = traced(network, call)
        parts += [graph.code, [shape_of(node) for node in graph.graph.nodes]]
    except Exception:
        codes = [type(module).forward.__code__ for module in network.modules()]
        parts += [(code.co_code, code.co_names) for code in codes]
    for name, module in network.named_modules():
        settings = {key: item for key, item in vars(module).items() if isinstance(item, (int, str, tuple)) and key != "training"}
        weights = {key: _blocks(item) for key, item in module._parameters.items() if item is not None}
        parts.append((name, type(module).__qualname__, sorted(settings.items()), sorted(weights.items())))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _blocks(weight: Tensor) -> tuple[Any, ...]:
    """A weight's shape and, where it has zeros, the width of its blocks and how many of them are left."""
    from suite import kernel

    shape = tuple(weight.shape)
    if weight.dim() < 2 or bool((weight != 0).all()):
        return (shape,)
    n = kernel.block_width(weight)
    return shape, n, len(kernel.pack(weight, n).index)


def _measured(network: nn.Module, call: tuple[Any, ...]) -> float:
    """Median ms on one thread of a plan that is right, else of the network in torch."""
    from suite import kernel

    contender: nn.Module | kernel.Plan = network
    with suppress(Exception):  # of a plan that does not run
        plan = kernel.lower(network, call)
        if kernel.check(plan, network, call) < TOLERANCE:
            contender = plan
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            return measure({"": lambda: contender(*call)}, calls=CALLS, seconds=SECONDS, limit=2 * SECONDS)[""]["median_ms"]
    finally:
        torch.set_num_threads(before)
