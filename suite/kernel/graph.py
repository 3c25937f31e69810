"""A network as a traced graph with the shape of every value, and what its nodes do."""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional
from torch.utils._pytree import tree_leaves, tree_map_only

from suite.kernel.attention import open_attention
from suite.modes import listened
from suite.nn import PadShortcut, fold
from suite.nn.trace import Tracer

_RELU, _RELU6 = (0.0, float("inf")), (0.0, 6.0)
CLAMPS: dict[Any, tuple[float, float]] = {
    nn.ReLU: _RELU, functional.relu: _RELU, torch.relu: _RELU, "relu": _RELU, nn.ReLU6: _RELU6, functional.relu6: _RELU6}
ADD = (operator.add, operator.iadd, torch.add, "add", "add_")
COMBINED = {**dict.fromkeys(ADD, "add"), **dict.fromkeys((operator.sub, operator.isub, torch.sub, "sub", "sub_"), "subtract"),
             **dict.fromkeys((torch.maximum, "maximum"), "maximum"), **dict.fromkeys((torch.minimum, "minimum"), "minimum")}
MULTIPLY = (operator.mul, operator.imul, torch.mul, "mul", "mul_")
SMOOTH = {nn.Hardswish: "hard_swish", functional.hardswish: "hard_swish", nn.Hardsigmoid: "hard_sigmoid",
           functional.hardsigmoid: "hard_sigmoid"}
NOTHING = (nn.Identity, nn.Dropout, functional.dropout)


class _Tracer(Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, PadShortcut) or super().is_leaf_module(module, name)


class _Shapes(ShapeProp):
    """Runs the graph, and notes the shape of every value, every number that is computed from shapes, and what is one memory."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.numbers: dict[fx.Node, Any] = {}
        self.memory: dict[fx.Node, fx.Node] = {}  # the first value that lies in the memory of each
        self.place: dict[fx.Node, Any] = {}  # of each tensor in its memory
        self.written: dict[fx.Node, list[fx.Node]] = {}  # whose memory each operation changes that works in place

    def run_node(self, n: fx.Node) -> Any:
        before = {source: [(item, _version(item)) for item in _tensors(self.env[source])] for source in n.all_input_nodes}
        result = super().run_node(n)
        if isinstance(result, (int, float, torch.Size)):
            self.numbers[n] = result
        if isinstance(result, Tensor):
            self.place[n] = result.shape, result.stride(), result.storage_offset()
        ours = {item.untyped_storage()._cdata for item in _tensors(result)}
        sources = [source for source, held in before.items() if ours & {item.untyped_storage()._cdata for item, _ in held}]
        self.memory[n] = self.memory[sources[0]] if sources else n
        for source in sources[1:]:
            joined = self.memory[source]
            self.memory |= {node: self.memory[n] for node, first in self.memory.items() if first is joined}
        if found := [source for source, held in before.items() if any(_version(item) != version for item, version in held)]:
            self.written[n] = found
        return result


class _Refused(TypeError):
    """Of a network that no way of tracing could make a plan of."""


def traced(network: nn.Module, inputs: tuple[Any, ...]) -> fx.GraphModule:
    """A folded copy as a graph (see `_traced`); where its code depends on shapes, or calls layers as functions, of the network as
    it runs for these `inputs`, with such layers as modules (`suite.kernel.functions`)."""
    from suite.kernel.functions import calls_layers, spelt_out

    graph, reason = None, Exception()
    try:
        graph = _traced(network, inputs)
    except _Refused:
        raise
    except Exception as error:
        reason = error
    if graph is None or calls_layers(graph.graph):
        with suppress(Exception):
            return _traced(spelt_out(network, _Tracer(inputs)), inputs)
    if graph is None:
        raise reason
    return graph


def _traced(network: nn.Module, inputs: tuple[Any, ...]) -> fx.GraphModule:
    """A folded copy as a graph with the shape of every value for positional arguments like `inputs`; any exception where there
    is none.

    Shapes are fixed, and so is every input that is no tensor: what the network computes from them are constants of the graph.
    What is used after an operation in place is that operation's result. Where that cannot be said, because of views, the values
    that share the memory are marked as `tangled`.
    """
    with torch.inference_mode(False), torch.no_grad():  # inference mode would not tell who works in place
        folded = fold(network)
        if listened(folded):
            raise _Refused("a hook looks at it as a whole")
        open_attention(folded)
        _number_paddings(folded)
        before = state_of(folded)
        graph = fx.GraphModule(folded, _Tracer().trace(folded))
        shapes = _Shapes(graph)
        shapes.propagate(*tree_map_only(Tensor, Tensor.clone, inputs))
    if state_of(folded) != before:
        raise _Refused("it changes its own weights, buffers or numbers")
    for node in {user for number in shapes.numbers for user in number.users}:
        node.args, node.kwargs = fx.node.map_arg((node.args, node.kwargs), lambda item: shapes.numbers.get(item, item))
    _untangle(graph, shapes)
    graph.graph.eliminate_dead_code(lambda node: node.is_impure() or node in shapes.written)
    return graph


def _number_paddings(network: nn.Module) -> None:
    """Give convolutions whose padding has a name, "same" or "valid", that padding in numbers where it is equal on both sides."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and isinstance(module.padding, str):
            wide = [step * (size - 1) for step, size in zip(module.dilation, module.kernel_size, strict=True)]
            if module.padding == "valid" or not any(total % 2 for total in wide):
                module.padding = tuple(0 if module.padding == "valid" else total // 2 for total in wide)


def _untangle(graph: fx.GraphModule, shapes: _Shapes) -> None:
    """Let what is used after an operation in place use its result; mark the values of a memory where views forbid it."""
    order = {node: place for place, node in enumerate(graph.graph.nodes)}
    for node, sources in shapes.written.items():
        for first in {shapes.memory[source] for source in sources}:
            family = [item for item in order if shapes.memory.get(item) is first]
            earlier = [item for item in family if order[item] < order[node]]
            late = {item: [user for user in item.users if order[user] > order[node]] for item in earlier}
            same = node in family and all(shapes.place.get(item) == shapes.place.get(node) for item, users in late.items() if users)
            for item, users in late.items():
                for user in users if same else ():
                    user.replace_input_with(item, node)
            if any(late.values()) and not same:
                for item in family:
                    item.meta["tangled"] = first


def state_of(network: nn.Module) -> list[Any]:
    """What a call may change of a network, for the next call to find."""
    numbers = [item for module in network.modules() for item in vars(module).values() if isinstance(item, (int, float, str))]
    return [*numbers, *map(_version, (*network.parameters(), *network.buffers()))]


def _version(values: Tensor) -> int:
    """How often a tensor was changed in place."""
    return 0 if values.is_inference() else values._version


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.layout == torch.strided]


def operation(node: fx.Node, modules: dict[str, nn.Module]) -> Any:
    """What a node does: a module's type, or the function or method name; nothing known (None) of a module with hooks."""
    if node.op != "call_module":
        return node.target
    module = modules[str(node.target)]
    return None if listened(module) else type(module)


def tangled(node: fx.Node) -> bool:
    """Whether a value's memory is changed while it, or a view of it, is still needed: then it must be torch's own tensor."""
    return "tangled" in node.meta


def is_view(node: fx.Node) -> bool:
    """Whether a tangled value lies in the memory of an earlier one."""
    return node.meta.get("tangled", node) is not node


def in_torch(graph: fx.GraphModule, node: fx.Node) -> Callable[[dict[Any, Any]], Any]:
    """The node as a function of the values of all nodes before it."""
    module: Any = graph.get_submodule(str(node.target)) if node.op == "call_module" else None

    def function(values: dict[Any, Any]) -> Any:
        args = fx.node.map_arg(node.args, values.__getitem__)
        kwargs = fx.node.map_arg(node.kwargs, values.__getitem__)
        if module is not None:
            return module(*args, **kwargs)
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(graph)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    return function


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
    return type(module) is nn.Conv2d and 1 < module.groups == module.in_channels == module.out_channels and not listened(module)


def drops_nothing(node: fx.Node, kind: Any) -> bool:
    """Whether an operation of `NOTHING` does nothing indeed: the function drops unless it is told not to."""
    training = node.args[2] if len(node.args) > 2 else node.kwargs.get("training", True)
    return kind is not functional.dropout or training is False


def flattens(node: fx.Node, kind: Any, module: Any) -> bool:
    """Whether a node makes (1, C, H, W) one vector of all its numbers."""
    given: dict[str, Any] = dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False)) | dict(node.kwargs)
    if kind is nn.Flatten:
        given = vars(module)
    whole = given.get("start_dim", 0) == 1 and given.get("end_dim", -1) in (-1, len(shape_of(node.args[0])) - 1)  # type: ignore[arg-type]
    return whole and kind in (torch.flatten, "flatten", nn.Flatten)


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


_PRODUCTS: dict[str, set[Any]] = {
    "call_function": {torch.matmul, torch.bmm, torch.mm, torch.einsum, operator.matmul, functional.linear, functional.conv2d,
                      functional.scaled_dot_product_attention},
    "call_method": {"matmul", "bmm", "mm"}}


def has_macs(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    """Why a node with MACs is outside of a plan; empty for one that has none."""
    module = modules.get(str(node.target)) if node.op == "call_module" else None
    if module is not None and listened(module) and any(parameter.dim() > 1 for parameter in module.parameters()):
        return "a hook looks at it"
    if isinstance(module, nn.Conv2d):
        return "an unusual convolution"
    if module is not None and any(parameter.dim() > 1 for parameter in module.parameters()):
        return f"{type(module).__name__} is not in the kernel yet"
    return "runs in torch" if node.target in _PRODUCTS.get(node.op, ()) else ""


def pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)
