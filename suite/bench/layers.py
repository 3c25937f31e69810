"""Milliseconds of each layer: in the kernel, and in OpenVINO by its own profile."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from suite.kernel.lower import lower
from suite.kernel.plan import Native
from suite.nn import fold

if TYPE_CHECKING:
    from suite.bench.peers import Model

FEWEST, MOST = 5, 100  # rounds


@dataclass(frozen=True)
class LayerTime:
    """One layer alone in the kernel; `bytes` are those of its packed weights, its input and its output, each once."""

    name: str
    kind: str
    shape: str  # "in-out kxk/stride @side" of the output
    macs: int
    effective: int
    kept: float
    bytes: int
    milliseconds: float


def layer_times(
    network: nn.Module, image: Tensor, *, dense: bool = False, threads: int = 1, seconds: float = 2.0
) -> list[LayerTime]:
    """The median time of every convolution and linear layer of `network` that the kernel takes, in the order they run.

    Each is a plan of its own, without the activations and sums that a whole network's plan fuses. One round runs all of
    them once, in order, so that weights come from where they come from in a network: no layer finds its own in the cache
    because it just ran. Rounds go on for `seconds`, within `FEWEST` to `MOST`.
    """
    alone = []
    for name, module, given in _inputs(fold(network), image):
        plan = lower(nn.Sequential(module), given, dense=dense, threads=threads)
        steps = [part for part in plan.program if isinstance(part, Native)]
        if plan.outside or len(steps) != 1:
            continue
        output = plan(given)
        alone.append((name, module, given, output, plan, steps[0]))
    spent: list[list[int]] = [[] for _ in alone]
    end = time.perf_counter() + seconds
    while alone and (len(spent[0]) < FEWEST or (len(spent[0]) < MOST and time.perf_counter() < end)):
        for (*_, plan, part), times in zip(alone, spent, strict=True):
            start = time.perf_counter_ns()
            plan.engine.run(part.first, part.last)
            times.append(time.perf_counter_ns() - start)
    found = []
    for (name, module, given, output, plan, _), times in zip(alone, spent, strict=True):
        layer = plan.layers[0]
        found.append(LayerTime(
            name, layer.kind, _shape(module, output), layer.macs, layer.effective, layer.kept,
            layer.bytes + 4 * (given.numel() + output.numel()), statistics.median(times) / 1e6,
        ))
    return found


def openvino_layers(model: Model, threads: int = 1, calls: int = 20) -> dict[str, float]:
    """Median milliseconds by layer name inside the whole network, as OpenVINO (fp32) profiles itself; microsecond steps.

    What it fuses into a layer (sums, activations) is included. A layer that it renamed is left out.
    """
    import onnx

    from suite.bench.peers import openvino_model

    names: dict[str, str] = {}
    for node in onnx.load_from_string(model.onnx).graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            names |= dict.fromkeys((node.name, node.output[0]), node.input[1].removesuffix(".weight"))
    request = openvino_model(model, threads, "f32", PERF_COUNT=True).create_infer_request()
    spent: dict[str, list[float]] = {}
    for call in range(calls + 2):
        request.infer({0: model.image.contiguous().numpy()}, share_inputs=True)
        for item in request.profiling_info if call >= 2 else ():
            name = names.get(item.node_name.split("/")[0])  # "node_conv2d/WithoutBiases"
            if name and item.real_time:
                spent.setdefault(name, []).append(item.real_time.total_seconds() * 1e3)
    return {name: statistics.median(times) for name, times in spent.items()}


def _inputs(network: nn.Module, image: Tensor) -> list[tuple[str, nn.Module, Tensor]]:
    """Every convolution and linear layer with what it is given, in the order in which they run."""
    found: list[tuple[str, nn.Module, Tensor]] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, given, name=name: found.append((name, module, given[0])))
        for name, module in network.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    try:
        with torch.no_grad():
            network(image)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _shape(module: nn.Module, output: Tensor) -> str:
    if not isinstance(module, nn.Conv2d):
        return f"{module.in_features}-{module.out_features}"
    size: Sequence[int] = module.kernel_size
    return f"{module.in_channels}-{module.out_channels} {size[0]}x{size[1]}/{module.stride[0]} @{output.shape[-1]}"
