"""Channel streams: which rows, columns and statistics of which layers belong to one set of channels.

Every convolution and linear layer that is not depthwise starts a set of channels. Batch normalisation, activations,
pooling and depthwise convolutions carry it on; addition and multiplication join two sets into one; flattening spreads a
channel over several columns; concatenation puts sets side by side. What is not understood fixes the channels it
touches, as do the network's input, whatever it puts out, keeps as an attribute or shows to a hook, and weights that are used
elsewhere than in their layer. So a stream that is not fixed may be permuted without changing the function, and cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from suite.nn.trace import Walk


class Port(NamedTuple):
    """Where a layer meets a stream: channel c is columns (or entries) ``offset + c * positions + range(positions)``."""

    name: str
    positions: int = 1
    offset: int = 0

    def columns(self, channels: Tensor) -> Tensor:
        """The columns of `channels` (n,), n * positions."""
        return self.offset + (channels[:, None] * self.positions + torch.arange(self.positions)).flatten()


@dataclass(frozen=True)
class Stream:
    """One set of channels.

    `writers` put out these channels (rows of weight and bias), `readers` take them (columns), `carriers` hold
    per-channel parameters on the way (batch normalisation, PReLU, depthwise convolutions). `gates` are the writers that
    only scale it (the last layer of a squeeze-and-excitation). `residual`: something is added to it. `fixed`: its order
    cannot change. `linear`: no activation follows the writers.
    """

    channels: int
    writers: tuple[str, ...]
    readers: tuple[Port, ...]
    carriers: tuple[Port, ...]
    gates: tuple[str, ...]
    residual: bool
    fixed: bool
    linear: bool


def streams(network: nn.Module, example: Tensor) -> list[Stream]:
    """The channel streams of `network` in order of their first writers, for images like `example` (N, C, H, W).

    Only the shape of `example` matters. UserError for a network that cannot be traced.
    """
    found = _Streams(network, example)
    found.walk()
    return found.streams()


@dataclass
class _Set:
    """A stream that grows while the network is walked."""

    channels: int
    writers: list[str]
    readers: list[Port] = field(default_factory=list)
    carriers: list[Port] = field(default_factory=list)
    gates: list[str] = field(default_factory=list)
    residual: bool = False
    fixed: bool = False
    linear: bool = True

    def absorb(self, other: _Set) -> None:
        for name in ("writers", "readers", "carriers", "gates"):
            getattr(self, name).extend(getattr(other, name))
        self.residual |= other.residual
        self.fixed |= other.fixed
        self.linear &= other.linear


class _Layout(NamedTuple):
    """Which channels run along `axis` of a tensor: (set, positions per channel) for each part, in order."""

    axis: int
    parts: tuple[tuple[int, int], ...]


_ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid),
    *(nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.PReLU),
)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample, nn.ZeroPad2d)
_ANYWHERE = (nn.Identity, nn.Dropout, nn.Dropout2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)

# Functions and methods by name, in place or not.
_ACTIVATION_NAMES = {
    *("relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish", "tanh", "sigmoid"),
    *("hardswish", "hardsigmoid", "hardtanh", "clamp"),
}
_POOL_NAMES = {"max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "interpolate"}
_ANYWHERE_NAMES = {"dropout", "contiguous", "clone", "detach", "float", "stochastic_depth"}
_SUMS, _PRODUCTS = {"add", "sub", "iadd", "isub"}, {"mul", "imul", "truediv", "itruediv"}
_SIZES = (int, float, torch.Size, torch.dtype, torch.device)  # what may be asked of a tensor without fixing its channels


class _Streams(Walk):
    def __init__(self, network: nn.Module, example: Tensor) -> None:
        super().__init__(network, example)
        self.layouts: dict[fx.Node, _Layout] = {}
        self.sets: list[_Set] = []
        self.parents: list[int] = []
        self.called: dict[tuple[str, str], list[int]] = {}  # the sets that each module with weights met, in which role
        self.leaving, self.shared = self.seen(), self.used_elsewhere()

    def streams(self) -> list[Stream]:
        found = []
        for index, item in enumerate(self.sets):
            if self.parents[index] == index:  # its fields are those of a stream, with lists for tuples
                lists = {key: tuple(dict.fromkeys(value)) for key, value in vars(item).items() if isinstance(value, list)}
                found.append(Stream(**{**vars(item), **lists}))
        return found

    def visit(self, node: fx.Node, result: Any) -> None:
        if isinstance(result, _SIZES):
            return
        sources = [source for source in node.all_input_nodes if not isinstance(self.env[source], _SIZES)]
        layout = self._follow(node, sources, result) if isinstance(result, Tensor) else None
        if layout is None:
            for source in sources:
                self._fix(self.layouts.get(source))
        else:
            self.layouts[node] = layout
            if node in self.leaving:
                self._fix(layout)

    def _follow(self, node: fx.Node, sources: list[fx.Node], result: Tensor) -> _Layout | None:
        """The layout of `result`, or None where it is not known: then the channels of all `sources` are fixed."""
        before = self.layouts.get(sources[0]) if sources else None
        if node.op == "call_module" and sources:
            module = self.module.get_submodule(str(node.target))
            return self._module(str(node.target), module, before, self.env[sources[0]], result)
        if node.op not in ("call_function", "call_method"):
            return None
        name = (node.target if isinstance(node.target, str) else node.target.__name__).rstrip("_")  # type: ignore[union-attr]
        if name in _SUMS or name in _PRODUCTS:
            return self._join(sources, result, residual=name in _SUMS)
        if name in ("cat", "concat"):
            return self._concatenate(node, sources, result)
        if before is None:
            return None
        if name in _ACTIVATION_NAMES:
            return self._activate(before)
        if name in _ANYWHERE_NAMES or (name in _POOL_NAMES and before.axis == 1):
            return before
        if name == "flatten" or (name in ("view", "reshape") and not _spelt_out(node)):
            return _reshape(before, self.env[sources[0]], result)
        if name == "mean":
            return _mean(node, before, self.env[sources[0]], result)
        return None

    def _module(self, name: str, module: nn.Module, before: _Layout | None, source: Tensor, result: Tensor) -> _Layout | None:
        if isinstance(module, nn.Conv2d):
            if 1 < module.groups == module.in_channels == module.out_channels:
                return self._carry(name, before)
            if module.groups > 1:  # permuting either side would have to stay inside the groups
                self._fix(before)
            else:
                self._read(name, before, axis=1)
            return self._write(name, module.out_channels, axis=1, fixed=module.groups > 1)
        if isinstance(module, nn.Linear):
            self._read(name, before, axis=source.ndim - 1)
            return self._write(name, module.out_features, axis=result.ndim - 1)
        if before is None:
            return None
        if isinstance(module, _NORMS) or (isinstance(module, nn.PReLU) and module.num_parameters > 1):
            before = self._carry(name, before)
        if isinstance(module, _ACTIVATIONS) or any(not isinstance(part, _ANYWHERE) for part in module.children()):
            return self._activate(before)  # a normalisation of timm's holds its activation
        if isinstance(module, (*_NORMS, *_ANYWHERE)) or (isinstance(module, _POOLS) and before and before.axis == 1):
            return before
        return _reshape(before, source, result) if isinstance(module, nn.Flatten) and before else None

    # What happens to sets.

    def _find(self, index: int) -> int:
        while self.parents[index] != index:
            index = self.parents[index]
        return index

    def _fix(self, layout: _Layout | None) -> None:
        for index, _ in layout.parts if layout else ():
            self.sets[self._find(index)].fixed = True

    def _write(self, name: str, channels: int, axis: int, fixed: bool = False) -> _Layout:
        self.sets.append(_Set(channels, [name], fixed=fixed))
        self.parents.append(len(self.sets) - 1)
        layout = _Layout(axis, ((len(self.sets) - 1, 1),))
        self._meet(name, "out", layout)
        return layout

    def _read(self, name: str, layout: _Layout | None, axis: int) -> None:
        if layout and layout.axis == axis:
            for index, port in self._ports(name, layout):
                self.sets[index].readers.append(port)
            self._meet(name, "in", layout)
        else:
            self._fix(layout)

    def _carry(self, name: str, layout: _Layout | None) -> _Layout | None:
        if not layout or layout.axis != 1:
            return None
        for index, port in self._ports(name, layout):
            self.sets[index].carriers.append(port)
        self._meet(name, "through", layout)
        return layout

    def _meet(self, name: str, role: str, layout: _Layout) -> None:
        """A module with weights that is called twice meets different channels with the same weights: fix them all."""
        met = self.called.setdefault((name, role), [])
        met.extend(index for index, _ in layout.parts)
        if len(met) > len(layout.parts) or name in self.shared:
            self._fix(_Layout(1, tuple((index, 1) for index in met)))

    def _ports(self, name: str, layout: _Layout) -> list[tuple[int, Port]]:
        ports, offset = [], 0
        for index, positions in layout.parts:
            ports.append((self._find(index), Port(name, positions, offset)))
            offset += self.sets[index].channels * positions
        return ports

    def _activate(self, layout: _Layout | None) -> _Layout | None:
        for index, _ in layout.parts if layout else ():
            self.sets[self._find(index)].linear = False
        return layout

    def _join(self, sources: list[fx.Node], result: Tensor, residual: bool) -> _Layout | None:
        known = [layout for source in sources if (layout := self.layouts.get(source))]
        if not known:
            return None
        for layout in known:
            for index, _ in layout.parts if residual and len(sources) > 1 else ():
                self.sets[self._find(index)].residual = True
        joined = known[0]
        if any(self._shape(layout) != self._shape(joined) for layout in known) or len(known) < len(sources):
            return None  # a map of one channel over many, or a parameter: not ours to follow
        for other in known[1:]:
            for (one, _), (two, _) in zip(joined.parts, other.parts, strict=True):
                self._unite(self._find(one), self._find(two), gated=not residual)
        return joined

    def _shape(self, layout: _Layout) -> tuple[int, list[tuple[int, int]]]:
        return layout.axis, [(self.sets[index].channels, positions) for index, positions in layout.parts]

    def _unite(self, one: int, two: int, gated: bool) -> None:
        first, second = sorted((one, two))  # a gate is computed from what it scales: its writer comes later
        if first == second:
            return
        if gated:
            self.sets[second].gates = list(self.sets[second].writers)
        self.sets[first].absorb(self.sets[second])
        self.parents[second] = first

    def _concatenate(self, node: fx.Node, sources: list[fx.Node], result: Tensor) -> _Layout | None:
        axis: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
        known = [layout for source in sources if (layout := self.layouts.get(source))]
        parts = sum((layout.parts for layout in known), ())
        if len(known) < len(sources) or {layout.axis for layout in known} != {axis % result.ndim}:
            return None
        width = sum(self.sets[index].channels * positions for index, positions in parts)
        return _Layout(known[0].axis, parts) if width == result.shape[known[0].axis] else None


def _reshape(before: _Layout, source: Tensor, result: Tensor) -> _Layout | None:
    """Flattening (N, C, ...) to (N, C * positions), or a reshape that leaves the first two sizes alone."""
    if before.axis != 1 or source.shape[0] != result.shape[0]:
        return None
    if source.shape[1] == result.shape[1]:
        return before
    positions = prod(source.shape[2:])
    if tuple(result.shape[1:]) != (source.shape[1] * positions,):
        return None
    return _Layout(1, tuple((index, old * positions) for index, old in before.parts))


def _spelt_out(node: fx.Node) -> bool:
    """Whether a view gives the size of the channels' axis as a number, which would be wrong after a cut."""
    sizes: Any = node.args[1] if len(node.args) > 1 and isinstance(node.args[1], (tuple, list)) else node.args[1:]
    return len(sizes) < 2 or (isinstance(sizes[1], int) and sizes[1] != -1)


def _mean(node: fx.Node, before: _Layout, source: Tensor, result: Tensor) -> _Layout | None:
    """A mean over the positions, (N, C, H, W) -> (N, C) or (N, C, 1, 1)."""
    axes: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else ())
    reduced = {axis % source.ndim for axis in ([axes] if isinstance(axes, int) else axes)}
    return before if before.axis == 1 and reduced and min(reduced) > 1 else None
