"""Layers that a network calls as functions (``functional.conv2d`` with a weight that it holds or computes), made modules again.

timm's convolutions with padding "same" and with standardised weights are such, and its normalisations that hold an activation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from suite.kernel.graph import in_torch, state_of
from suite.modes import listened, plain
from suite.nn.trace import Tracer

_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_NORMALISATION = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
_LAYERS: dict[Any, tuple[str, ...]] = {functional.conv2d: _CONVOLUTION, functional.linear: _CONVOLUTION[:3],
                                       functional.batch_norm: _NORMALISATION}


def calls_layers(graph: fx.Graph) -> bool:
    """Whether a layer of which nothing but the input is computed from the network's input is called as a function."""
    fixed = _constants(graph)
    return any(_is_layer(node, fixed) for node in graph.nodes)


def spelt_out(network: nn.Module, tracer: Tracer) -> fx.GraphModule:
    """A copy of `network` as the graph that `tracer` makes of it, its layers modules. TypeError if tracing it changes it."""
    network = plain(network)
    before = state_of(network)
    with torch.inference_mode(False), torch.no_grad():
        graph = fx.GraphModule(network, tracer.trace(network))
        if listened(network) or state_of(network) != before:
            raise TypeError("it changes its own weights, buffers or numbers")
        fixed = _constants(graph.graph)
        found = {node: _module(node, graph) for node in graph.graph.nodes if _is_layer(node, fixed)}
    taken = {str(node.target) for node in graph.graph.nodes if node.op == "call_module"}
    for node, module in found.items():
        owner = next(str(item.target).rpartition(".")[0] for item in _weights(node.all_input_nodes[1]))
        name = owner if owner and owner not in taken and _holds_weights_alone(graph, owner) else f"layer_{node.name}"
        taken.add(name)
        graph.add_submodule(name, module)
        with graph.graph.inserting_before(node):
            made = graph.graph.call_module(name, (node.args[0],))
        node.replace_all_uses_with(made)
        graph.graph.erase_node(node)
    for node in reversed(list(graph.graph.nodes)):
        if node in fixed and not node.users:
            graph.graph.erase_node(node)
    graph.recompile()
    return graph.eval()


def _constants(graph: fx.Graph) -> set[fx.Node]:
    """What is computed from weights and statistics alone."""
    found = set[fx.Node]()
    for node in graph.nodes:
        sources = node.all_input_nodes
        if node.op == "get_attr" or (node.op in ("call_function", "call_method") and sources and found.issuperset(sources)):
            found.add(node)
    return found


def _is_layer(node: fx.Node, fixed: set[fx.Node]) -> bool:
    if node.op != "call_function" or node.target not in _LAYERS or not node.args:
        return False
    first, *others = node.all_input_nodes
    given = dict(zip(_LAYERS[node.target], node.args, strict=False)) | dict(node.kwargs)
    known = node.target is not functional.batch_norm or (not given.get("training", False) and given["running_mean"] is not None)
    return first is given.get("input") and first not in fixed and bool(others) and fixed.issuperset(others) and known


def _module(node: fx.Node, graph: fx.GraphModule) -> nn.Module:
    values: dict[Any, Any] = {}

    def value(item: fx.Node) -> Any:
        if item not in values:
            for source in item.all_input_nodes:
                value(source)
            values[item] = in_torch(graph, item)(values)
        return values[item]

    named = dict(zip(_LAYERS[node.target], node.args, strict=False)) | dict(node.kwargs)  # type: ignore[index]
    given = {key: fx.node.map_arg(item, value) for key, item in named.items() if key != "input"}
    makers: dict[Any, Callable[..., nn.Module]] = {functional.conv2d: _convolution, functional.linear: _linear,
                                                   functional.batch_norm: _normalisation}
    return makers[node.target](**given)


def _convolution(weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
                 groups: int = 1) -> nn.Module:
    rows, columns, *size = weight.shape
    made = nn.Conv2d(columns * groups, rows, tuple(size), stride, padding, dilation, groups, bias is not None)  # type: ignore[arg-type]
    return _with(made, weight=weight, bias=bias)


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Module:
    return _with(nn.Linear(weight.shape[1], weight.shape[0], bias is not None), weight=weight, bias=bias)


def _normalisation(running_mean: Tensor, running_var: Tensor, weight: Tensor | None = None, bias: Tensor | None = None,
                   training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> nn.Module:
    made = nn.BatchNorm2d(len(running_mean), eps, affine=weight is not None)
    made.running_mean, made.running_var = running_mean.clone(), running_var.clone()
    return _with(made, weight=weight, bias=bias)


def _with(module: nn.Module, **values: Tensor | None) -> nn.Module:
    for name, item in values.items():
        if item is not None:
            setattr(module, name, nn.Parameter(item.detach().clone()))
    return module


def _weights(node: fx.Node) -> list[fx.Node]:
    """The weights that a constant is computed from, the first first."""
    return [node] if node.op == "get_attr" else [leaf for item in node.all_input_nodes for leaf in _weights(item)]


def _holds_weights_alone(graph: fx.GraphModule, name: str) -> bool:
    try:
        return not list(graph.get_submodule(name).children())
    except AttributeError:
        return False
