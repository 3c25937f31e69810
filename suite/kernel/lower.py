"""Lowering a torch network to a plan: trace, fold batch normalisation, fuse, lay out, emit."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from suite.cost import count
from suite.kernel.emit import Emitter, Slot

from suite.kernel.graph import (  # isort: skip
    ADD, CLAMPS, COMBINED, MULTIPLY, NOTHING, SMOOTH, are_tokens, averages_maps, drops_nothing, flattens, has_macs, in_torch,
    is_depthwise, is_view, operation, pair, resizing, shape_of, takes, tangled, traced,
)  # fmt: skip
from suite.kernel.layout import bands, paddings
from suite.kernel.plan import Call, Plan, arguments, engine, signature
from suite.modes import plain
from suite.nn import PadShortcut, widened

_NEAR = 2**18  # floats that stay in half of a usual L2 cache


def lower(network: nn.Module, example: Tensor | tuple[Any, ...], *, dense: bool = False, threads: int = 1,
          gradients: bool = False) -> Plan:
    """A plan of `network` in evaluation mode for inputs like `example`, (1, C, H, W) or a tuple of positional arguments: tensors of
    the same shapes, all else equal. It puts out what the network does, be it a tensor, a dictionary or a tuple.

    N is found per layer from the zeros of its weights, as which the channels that a `suite.nn.Gather` leaves out count; `dense`
    stores all zeros too. What torch.fx cannot trace, or back-propagates (`gradients`), runs in torch as a whole: `Plan.outside`.
    """
    network, inputs, made, doing = widened(plain(network)), arguments(example), engine(threads), "traced"
    try:
        if gradients:
            raise TypeError("it back-propagates")
        graph = traced(network, inputs)
        doing = "lowered"
        plan = _Lowering(graph, made, dense).plan(inputs)
    except Exception as error:
        whole = Call(lambda values: network(*(values[place] for place in range(len(inputs)))), "output")
        return Plan(engine(threads), signature(inputs), [whole], list(range(len(inputs))), "output",
                    outside=[f"network: cannot be {doing} ({error})"], gradients=gradients)
    total = count(network, inputs, gradients).macs
    plan.macs_share = sum(layer.macs for layer in plan.layers) / total if total else 0.0
    return plan


class _Lowering:
    """Walks the graph once. Every value is a slot of the engine, a torch variable, or both."""

    def __init__(self, graph: fx.GraphModule, made: Any, dense: bool) -> None:
        self.graph = graph
        self.modules = dict(graph.named_modules())
        self.emit = Emitter(made, dense, paddings(graph), bands(graph, made.threads))
        self.slots: dict[fx.Node, Slot] = {}
        self.variables: set[fx.Node] = set()
        self.order = {node: index for index, node in enumerate(graph.graph.nodes)}

    def plan(self, inputs: tuple[Any, ...]) -> Plan:
        places, outside, output = list[fx.Node](), list[str](), None
        last_use = {node: max((self.order[user] for user in node.users), default=0) for node in self.order}
        for node, index in self.order.items():
            if node in self.slots:  # fused into an earlier step
                pass
            elif node.op == "placeholder":
                if len(places) < len(inputs):
                    places.append(node)
                else:  # not given: its default
                    self.emit.call(partial(lambda default, values: default, node.args[0]), node)
                self.variables.add(node)
            elif node.op == "output":
                output = self._output(node)
            elif not self._lowered(node):
                self._torch(node)
                if reason := has_macs(node, self.modules):
                    outside.append(f"{node.target if node.op == 'call_module' else node.name}: {reason}")
            elif tangled(node):  # the first value of its memory, which views of it will change: torch's from here on
                self._variable(node)
                del self.slots[node]
            self.emit.recycle({slot.buffer for holder, slot in self.slots.items() if last_use[holder] > index})
        self.emit.finish()
        return Plan(self.emit.engine, signature(inputs), self.emit.program, places, output, self.emit.layers, outside)

    def _output(self, node: fx.Node) -> fx.Node:
        """What holds the network's output: the value itself where it is one, else the node, a call that puts all parts together."""
        for item in node.all_input_nodes:
            self._variable(item)
        if isinstance(node.args[0], fx.Node):
            return node.args[0]
        self.emit.call(lambda values: fx.node.map_arg(node.args[0], values.__getitem__), node)
        return node

    def _lowered(self, node: fx.Node) -> bool:
        """Emit the node natively if it can be; whether it was."""
        kind = operation(node, self.modules)
        if kind is None or is_view(node):
            return False
        module = self.modules.get(str(node.target)) if node.op == "call_module" else None
        first = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
        if kind in (torch.cat, torch.concat):
            return self._concatenation(node)
        if first is None or not shape_of(first) or not shape_of(node):
            return False
        if kind is nn.Linear and len(shape_of(first)) > 1:
            return self._layer(node, first, module)
        if not (shape_of(first)[0] == 1 or are_tokens(first)):
            return False
        if kind in NOTHING:
            return drops_nothing(node, kind) and self._alias(node, first)
        if kind is nn.Conv2d and takes(module) and len(shape_of(first)) == 4:
            return self._layer(node, first, module)
        if first not in self.slots:
            return False
        source = self.slots[first]
        if source.tokens and kind not in CLAMPS and kind not in SMOOTH:
            return False  # the rest takes (1, C, H, W) and (1, C)
        if kind in CLAMPS:
            self.slots[node] = self.emit.activate(source, "clamp", *CLAMPS[kind])
        elif kind in SMOOTH:
            self.slots[node] = self.emit.activate(source, SMOOTH[kind], 0.0, 0.0)
        elif kind in (nn.LeakyReLU, functional.leaky_relu):
            slope = module.negative_slope if module else node.args[1] if len(node.args) > 1 else 0.01
            self.slots[node] = self.emit.activate(source, "leaky_relu", float(node.kwargs.get("negative_slope", slope)), 0.0)  # type: ignore[arg-type]
        elif kind is PadShortcut:
            self.slots[node] = self.emit.shortcut(source, module.extra, module.stride)  # type: ignore[union-attr, arg-type]
        elif kind in COMBINED or kind in MULTIPLY:
            return self._binary(node, first, COMBINED.get(kind))
        elif kind is functional.max_pool2d:
            return self._max_pool(node, source)
        elif kind is nn.MaxPool2d and not module.ceil_mode and pair(module.dilation) == (1, 1):  # type: ignore[union-attr]
            self.slots[node] = self.emit.pool(source, module, shape_of(node), largest=True)
        elif kind is nn.AvgPool2d and not (module.ceil_mode or module.divisor_override) and (  # type: ignore[union-attr]
                module.count_include_pad or pair(module.padding) == (0, 0)):  # type: ignore[union-attr]
            self.slots[node] = self.emit.pool(source, module, shape_of(node), largest=False)
        elif way := resizing(node, kind, module):
            self.slots[node] = self.emit.resize(source, shape_of(node), way == "bilinear")
        elif kind in (nn.AdaptiveAvgPool2d, functional.adaptive_avg_pool2d):
            return self._average(node, first, shape_of(node)[2:])
        elif kind in ("mean", torch.mean) and averages_maps(node, shape_of(first)):
            self.slots[node] = self.emit.mean(source)
        elif flattens(node, kind, module):
            self.slots[node] = self.emit.flatten(source)
        else:
            return False
        return True

    def _max_pool(self, node: fx.Node, source: Slot) -> bool:
        """A call of the function, as a module would do it."""
        module = nn.MaxPool2d(*node.args[1:], **{key: item for key, item in node.kwargs.items() if key != "input"})  # type: ignore[arg-type]
        plain = not module.ceil_mode and not module.return_indices and pair(module.dilation) == (1, 1)
        if plain:
            self.slots[node] = self.emit.pool(source, module, shape_of(node), largest=True)
        return plain

    def _concatenation(self, node: fx.Node) -> bool:
        """Channels behind channels, if all parts are on the engine."""
        axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        parts = node.args[0] if node.args else None
        held = [self.slots.get(part) for part in parts] if isinstance(parts, (list, tuple)) else []
        if axis not in (1, -3) or len(shape_of(node)) != 4 or not held or any(slot is None or slot.compact for slot in held):
            return False
        self.slots[node] = self.emit.concatenate([slot for slot in held if slot is not None])
        return True

    def _alias(self, node: fx.Node, first: fx.Node) -> bool:
        if first in self.slots:
            self.slots[node] = self.slots[first]
        return first in self.slots

    def _layer(self, node: fx.Node, first: fx.Node, module: Any) -> bool:
        """A convolution or linear layer with all that can be fused behind it."""
        tokens = isinstance(module, nn.Linear) and shape_of(first)[:-1] != (1,)  # rows of a matrix, however many axes they have
        source = self._slot(first, tokens)
        fused, residual, clamp = self._tail(node, tokens)
        if second := self._depthwise(node, fused[-1], residual, source):
            rest, added, last_clamp = self._tail(second, tokens)
            if added is None:
                modules = module, self.modules[str(second.target)]
                shapes = shape_of(node), shape_of(second)
                slot = self.emit.pair((str(node.target), str(second.target)), modules, source, shapes, (clamp, last_clamp))
                self.slots |= dict.fromkeys(fused + rest, slot)
                return True
        # A depthwise kernel writes whole vectors: over the sum's other part it would spoil rows that it has yet to read. So would
        # any over its own source.
        free = residual is not None and residual.buffer != source.buffer and not is_depthwise(module)
        last = free and residual is not None and self._unused(residual, node, fused)
        slot = self.emit.layer(str(node.target), module, source, shape_of(node), residual, clamp, last)
        self.slots |= dict.fromkeys(fused, slot)
        return True

    def _tail(self, node: fx.Node, tokens: bool) -> tuple[list[fx.Node], Slot | None, tuple[float, float]]:
        """A layer's node with those that its store can do too: a sum with a value that is there, and an activation."""
        fused, residual, clamp = [node], None, (-float("inf"), float("inf"))
        while not tokens and len(fused[-1].users) == 1 and not tangled(fused[-1]):
            user = next(iter(fused[-1].users))
            kind = operation(user, self.modules) if user.op.startswith("call") and not tangled(user) else None
            if kind in NOTHING and drops_nothing(user, kind):
                pass
            elif kind in CLAMPS:
                return [*fused, user], residual, CLAMPS[kind]
            elif kind in ADD and residual is None and (other := self._other(user, fused[-1])) is not None:
                residual = other
            else:
                break
            fused.append(user)
        return fused, residual, clamp

    def _depthwise(self, node: fx.Node, last: fx.Node, residual: Slot | None, source: Slot) -> fx.Node | None:
        """The depthwise convolution that alone reads a convolution, where running both a few channels at a time pays."""
        user = next(iter(last.users)) if len(last.users) == 1 else None
        module = self.modules.get(str(user.target)) if user and user.op == "call_module" else None
        if not is_depthwise(module) or not takes(module) or any(map(tangled, (last, *last.users))):
            return None
        first = self.modules[str(node.target)]
        if residual is not None or source.compact or source.tokens or not isinstance(first, nn.Conv2d) or first.groups > 1:
            return None
        return user if math.prod(source.planes) <= _NEAR else None  # the source is read again for every few channels

    def _unused(self, slot: Slot, node: fx.Node, fused: list[fx.Node]) -> bool:
        """Whether nobody but `fused` needs the value of a slot once the step at `node` runs."""
        holders = [holder for holder, held in self.slots.items() if held.buffer == slot.buffer]
        return all(user in fused or user in self.slots or self.order[user] < self.order[node]
                   for holder in holders for user in holder.users)

    def _other(self, node: fx.Node, one: fx.Node) -> Slot | None:
        """The slot of the other operand of a sum, if it is computed already, or is a mere shortcut, and has the same shape."""
        others = [item for item in node.args if item is not one]
        if len(others) != 1 or len(node.args) != 2 or node.kwargs or not isinstance(others[0], fx.Node):
            return None
        if not shape_of(others[0]) == shape_of(one) == shape_of(node):
            return None
        if others[0] not in self.slots and not tangled(others[0]) and operation(others[0], self.modules) in (*NOTHING, PadShortcut):
            self._lowered(others[0])
        return self.slots.get(others[0])

    def _binary(self, node: fx.Node, first: fx.Node, combined: str | None) -> bool:
        """Two values of one shape `combined`, or (None) a product of planes with one number for each: the second where both are."""
        second = node.args[1] if len(node.args) == 2 and not node.kwargs else None
        if not isinstance(second, fx.Node) or second not in self.slots:
            return False
        shapes = shape_of(first), shape_of(second)
        if combined:
            if shapes[0] == shapes[1]:
                self.slots[node] = self.emit.combine(self.slots[first], self.slots[second], combined)
            return shapes[0] == shapes[1]
        gates = [item for item in (first, second) if shape_of(item)[2:] == (1, 1)]
        if not gates or shapes[0][1] != shapes[1][1] or len(shapes[0]) != 4:
            return False
        other = second if gates[-1] is first else first
        self.slots[node] = self.emit.scale(self.slots[other], self.slots[gates[-1]])
        return True

    def _average(self, node: fx.Node, first: fx.Node, size: tuple[int, ...]) -> bool:
        if size == shape_of(first)[2:]:
            return self._alias(node, first)
        if size == (1, 1):
            self.slots[node] = self.emit.mean(self.slots[first])
        return size == (1, 1)

    def _slot(self, node: fx.Node, tokens: bool = False) -> Slot:
        """The node's value on the engine, written there if it is a torch variable; a tangled one anew for every reader."""
        known = self.slots.get(node)
        if known is not None and known.tokens == tokens:
            return known
        if known is not None:  # laid out otherwise
            self._variable(node)
        slot = self.emit.write(node, shape_of(node), tokens)
        if known is None and not tangled(node):
            self.slots[node] = slot
        return slot

    def _variable(self, node: fx.Node) -> None:
        """Make the node's value a torch variable too."""
        if node not in self.variables:
            self.emit.read(self.slots[node], node, shape_of(node))
            self.variables.add(node)

    def _torch(self, node: fx.Node) -> None:
        for item in node.all_input_nodes:
            self._variable(item)
        self.emit.call(in_torch(self.graph, node), node)
        self.variables.add(node)
