"""A network as a traced graph with the shape of every value, and what its nodes do."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

from suite.kernel.attention import open_attention
from suite.nn import PadShortcut, fold

_RELU, _RELU6 = (0.0, float("inf")), (0.0, 6.0)
CLAMPS: dict[Any, tuple[float, float]] = {
    nn.ReLU: _RELU, functional.relu: _RELU, torch.relu: _RELU, "relu": _RELU, nn.ReLU6: _RELU6, functional.relu6: _RELU6}
NOTHING = (nn.Identity, nn.Dropout, functional.dropout)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, PadShortcut) or super().is_leaf_module(module, name)


class _Shapes(ShapeProp):
    """Notes the shape of every value, and every number that is computed from shapes."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.numbers: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, (int, float, torch.Size)):
            self.numbers[n] = result
        return result


def traced(network: nn.Module, inputs: tuple[Any, ...]) -> fx.GraphModule:
    """A folded copy as a graph with the shape of every value for positional arguments like `inputs`; any exception where there
    is none.

    Shapes are fixed, and so is every input that is no tensor: what the network computes from them are constants of the graph.
    """
    folded = fold(network)
    open_attention(folded)
    graph = fx.GraphModule(folded, _Tracer().trace(folded))
    shapes = _Shapes(graph)
    with torch.inference_mode():
        shapes.propagate(*inputs)
    for node in {user for number in shapes.numbers for user in number.users}:
        node.args, node.kwargs = fx.node.map_arg((node.args, node.kwargs), lambda item: shapes.numbers.get(item, item))
    graph.graph.eliminate_dead_code()
    return graph


def operation(node: fx.Node, modules: dict[str, nn.Module]) -> Any:
    """What a node does: a module's type, or the function or method name."""
    return type(modules[str(node.target)]) if node.op == "call_module" else node.target


def shape_of(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape) if hasattr(node.meta.get("tensor_meta"), "shape") else ()


def are_tokens(node: fx.Node) -> bool:
    """Whether a value is the rows of a matrix, (1, T, C) or (T, C)."""
    shape = shape_of(node)
    return (len(shape) == 3 and shape[0] == 1) or (len(shape) == 2 and shape[0] > 1)


def takes(module: Any) -> bool:
    """Whether the kernel does a convolution with padding of this kind."""
    return module.padding_mode == "zeros" and isinstance(module.padding, tuple)


def is_depthwise(module: Any) -> bool:
    """Whether a module is a convolution whose every output channel reads the input channel of its number."""
    return isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels == module.out_channels


def averages_maps(node: fx.Node, shape: tuple[int, ...]) -> bool:
    """Whether a call of ``mean`` averages over height and width, and nothing else."""
    axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    plain = set(node.kwargs) <= {"dim", "keepdim"} and len(shape) == 4
    return plain and isinstance(axes, (tuple, list)) and sorted(int(axis) % 4 for axis in axes) == [2, 3]  # type: ignore[arg-type]


def resizing(node: fx.Node, kind: Any, module: Any) -> str:
    """How a node resizes maps: "nearest" by 1, 2, 4, 8 or 16 (torch may round otherwise for others), "bilinear", or not ("")."""
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or len(shape_of(source)) != 4 or kind not in (nn.Upsample, functional.interpolate):
        return ""
    if kind is nn.Upsample:
        how, corners, scale = module.mode, module.align_corners, module.scale_factor
    else:
        how, corners = node.kwargs.get("mode", "nearest"), node.kwargs.get("align_corners")
        scale = node.args[2] if len(node.args) > 2 else node.kwargs.get("scale_factor")
    unusual = len(node.args) > 3 or corners or node.kwargs.get("antialias") or node.kwargs.get("recompute_scale_factor")
    factors = {new / old for old, new in zip(shape_of(source)[2:], shape_of(node)[2:], strict=True)}
    if unusual or (scale is not None and not factors <= {1, 2, 4, 8, 16}):
        return ""
    return how if how == "bilinear" or (how == "nearest" and factors <= {1, 2, 4, 8, 16}) else ""


def has_macs(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    """Why a node with MACs is outside of a plan; empty for one that has none."""
    module = modules.get(str(node.target)) if node.op == "call_module" else None
    if isinstance(module, nn.Conv2d):
        return "an unusual convolution"
    if module is not None and any(parameter.dim() > 1 for parameter in module.parameters()):
        return f"{type(module).__name__} is not in the kernel yet"
    return "runs in torch" if node.target in (torch.matmul, torch.bmm, operator.matmul, functional.linear,
                                              functional.conv2d, functional.scaled_dot_product_attention) else ""


def pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)
