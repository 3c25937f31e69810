"""How the maps of a network lie in memory: decided for all values of one size, before any of them is made."""

from __future__ import annotations

import math

from torch import fx, nn

from suite.kernel.graph import CLAMPS, NOTHING, is_depthwise, operation, shape_of, takes

_BAND = 2**19  # floats of a thread's largest value of a map size from which on it is worked off in several bands


def paddings(graph: fx.GraphModule) -> dict[tuple[int, ...], int]:
    """Zero columns between rows by map size: as many as any convolution on such a map needs."""
    needed: dict[tuple[int, ...], int] = {}
    for node in graph.graph.nodes:
        module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not isinstance(module, nn.Conv2d) or not takes(module):
            continue
        source, target = shape_of(node.args[0])[2:], shape_of(node)[2:]
        for axis in (0, 1):
            columns = overhang(module, axis, source[axis], target[axis])
            for size in (source, target) if source == target else (target,):
                needed[size] = max(needed.get(size, 0), columns)
    return needed


def bands(graph: fx.GraphModule, threads: int) -> dict[tuple[int, ...], int]:
    """Bands for each thread by map size, so that the largest value's pass from layer to layer in the cache.

    What a depthwise convolution reads is mostly part of a pair, and then no value of its own.
    """
    modules = dict(graph.named_modules())
    largest: dict[tuple[int, ...], int] = {}
    for node in graph.graph.nodes:
        if len(shape := shape_of(node)) == 4 and not _read_by_depthwise(node, modules):
            largest[shape[2:]] = max(largest.get(shape[2:], 0), math.prod(shape))
    return {size: -(-count // (_BAND * threads)) for size, count in largest.items()}


def overhang(module: nn.Conv2d, axis: int, source: int, target: int) -> int:
    """Zero columns that a convolution from `source` to `target` pixels needs between rows of the target's width."""
    stride, before = module.stride[axis], -(-int(module.padding[axis]) // module.stride[axis])
    after = max(0, ((module.kernel_size[axis] - 1) * module.dilation[axis] - int(module.padding[axis])) // stride)
    return max(after, min(-(-source // stride), target + after) + before - target, before if stride == 1 else 0)


def _read_by_depthwise(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether its one reader, be it behind an activation, is a depthwise convolution."""
    while len(node.users) == 1:
        node = next(iter(node.users))
        if operation(node, modules) not in (*CLAMPS, *NOTHING):
            return node.op == "call_module" and is_depthwise(modules[str(node.target)])
    return False
