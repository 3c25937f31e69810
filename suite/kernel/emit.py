"""Emitting a plan: buffers, packed layers, and the program that strings them together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from suite.kernel.graph import is_depthwise
from suite.kernel.pack import block_width, pack
from suite.kernel.plan import Call, Layer, Native, Read, Write, native

INFINITE = float("inf")
Clamp = tuple[float, float]
Planes = tuple[int, int, int]


@dataclass(frozen=True)
class Slot:
    """A value on the engine: a buffer seen as `planes` (C, H, W); `compact` ones are flat vectors without padding."""

    buffer: int
    planes: Planes
    compact: bool
    tokens: bool = False


class Memory(NamedTuple):
    """What lies under one or, one after the other, several buffers."""

    buffer: int  # the last of them
    size: int
    layout: tuple[int, int, bool]  # height, width, compact


class Emitter:
    """Adds steps to an engine; each method returns where its result is.

    `padding` and `bands` give zero columns, and bands for each thread, by map size (H, W).
    """

    def __init__(self, engine: Any, dense: bool, padding: dict[tuple[int, ...], int], bands: dict[tuple[int, ...], int]) -> None:
        self.engine, self.dense, self.padding, self.bands = engine, dense, padding, bands
        self.native = native()  # what makes blocks, geometries and filters
        self.program: list[Native | Write | Read | Call] = []
        self.layers: list[Layer] = []
        self.steps = 0  # native ones so far
        self.used: dict[int, Memory] = {}  # by buffer
        self.free: list[Memory] = []

    def _buffer(self, planes: Planes, compact: bool, tokens: bool = False) -> Slot:
        """A buffer in the smallest memory of a dead value that has room, at best of the same layout, whose zeros are in place.

        Sharing keeps a network's activations in the cache.
        """
        layout = planes[1], planes[2], compact
        buffer = -1
        for memory in sorted(self.free, key=lambda memory: (memory.layout != layout, memory.size)):
            if (buffer := self.engine.reuse(memory.buffer, *self._shape(planes, compact))) >= 0:
                self.free.remove(memory)
                break
        else:
            buffer = self._own(planes, compact)
        self.used[buffer] = Memory(buffer, self.engine.size(buffer), layout)
        return Slot(buffer, planes, compact, tokens)

    def _own(self, planes: Planes, compact: bool) -> int:
        return self.engine.buffer(*self._shape(planes, compact))

    def _shape(self, planes: Planes, compact: bool) -> tuple[int, int, int, int, bool, int]:
        return *planes, 0 if compact else self.padding.get(planes[1:], 0), compact, self.bands.get(planes[1:], 1)

    def recycle(self, alive: set[int]) -> None:
        """Let later values have the memory of all buffers but those `alive`."""
        for buffer in sorted(self.used.keys() - alive):
            self.free.append(self.used.pop(buffer))

    def _did(self, step: int, slot: Slot) -> Slot:
        """Book native steps up to `step`, joining them to the native part before."""
        last = self.program[-1] if self.program else None
        if isinstance(last, Native):
            last.last = step + 1
        else:
            self.program.append(Native(self.steps, step + 1))
        self.steps = step + 1
        return slot

    def finish(self) -> None:
        """Let the program end as it began: with the zeros of the first values of all memory in place."""
        if (step := self.engine.finish()) >= self.steps:
            self._did(step, Slot(-1, (0, 0, 0), True))

    def write(self, variable: Any, shape: tuple[int, ...], tokens: bool = False) -> Slot:
        if tokens:
            slot = self._buffer((shape[-1], 1, math.prod(shape[:-1])), False, True)
        elif len(shape) == 4:
            slot = self._buffer((shape[1], shape[2], shape[3]), False)
        else:
            slot = self._buffer((shape[1], 1, 1), True)
        self.program.append(Write(variable, slot.buffer, tokens))
        return slot

    def read(self, slot: Slot, variable: Any, shape: tuple[int, ...]) -> None:
        self.program.append(Read(slot.buffer, variable, slot.planes, shape, slot.tokens))

    def call(self, function: Callable[[dict[Any, Any]], Any], variable: Any) -> None:
        self.program.append(Call(function, variable))

    def layer(self, name: str, module: Any, source: Slot, shape: tuple[int, ...], residual: Slot | None,
              clamp: Clamp, over: bool = False) -> Slot:
        """A convolution or linear layer, a residual and a clamp fused into its store; `over` the residual, if it may be lost."""
        weight, bias = module.weight.detach(), module.bias
        channels = weight.shape[0]
        if isinstance(module, nn.Linear) and not source.tokens:
            return self._product(name, "linear", weight, bias, self.flatten(source), (channels, 1, 1), residual, clamp)
        if isinstance(module, nn.Linear):
            planes = (channels, 1, source.planes[2])
        else:
            planes = (channels, shape[2], shape[3])
            if source.planes[1:] == planes[1:] == (1, 1) and module.kernel_size == (1, 1) and module.groups == 1:
                return self._product(name, "conv 1x1", weight.flatten(1), bias, self.flatten(source), planes, residual, clamp)
        if residual is not None and residual.compact:
            return self.combine(self.layer(name, module, source, shape, None, (-INFINITE, INFINITE)), residual, "add", clamp)
        if residual is not None and over and residual.buffer in self.used:
            slot = residual
        else:
            slot = self._buffer(planes, False, source.tokens)
        before = -1 if residual is None else residual.buffer
        step = self.engine.convolve(source.buffer, slot.buffer, before, self._filter(name, module, planes, clamp))
        self.layers[-1].how = self.engine.how(step)
        return self._did(step, slot)

    def pair(self, names: tuple[str, str], modules: tuple[nn.Conv2d, nn.Conv2d], source: Slot,
             shapes: tuple[tuple[int, ...], ...], clamps: tuple[Clamp, Clamp]) -> Slot:
        """A convolution and the depthwise one that alone reads it, a few channels at a time; `shapes` are their outputs'."""
        planes = [(channels, height, width) for _, channels, height, width in shapes]
        slot = self._buffer(planes[1], False)
        _, height, width = planes[0]
        filters = [self._filter(*layer) for layer in zip(names, modules, planes, clamps, strict=True)]
        padding = self.padding.get((height, width), 0)
        step = self.engine.convolve_pair(source.buffer, height, width, padding, slot.buffer, *filters)
        self.layers[-2].how, self.layers[-1].how = self.engine.how(step), "with the one before"
        return self._did(step, slot)

    def _filter(self, name: str, module: Any, planes: Planes, clamp: Clamp) -> Any:
        """A convolution, or a linear layer over tokens, packed; `planes` are its outputs."""
        weight, bias, depthwise = module.weight.detach(), module.bias, False
        if isinstance(module, nn.Linear):
            geometry, kind = self.native.Geometry(1, 1, 1, 1, 0, 0, 1, 1), "linear"
            weight = weight[:, :, None, None]
        else:
            geometry = self.native.Geometry(*module.kernel_size, *module.stride, *module.padding, *module.dilation)
            depthwise, size = is_depthwise(module), f"{module.kernel_size[0]}x{module.kernel_size[1]}"
            kind = "depthwise" if depthwise else f"grouped {size}" if module.groups > 1 else f"conv {size}"
        groups = 1 if depthwise else getattr(module, "groups", 1)
        blocks = self._pack(name, kind, weight, bias, 1 if depthwise else 0, planes[1] * planes[2], groups)
        return self.native.Filter(geometry, blocks, *clamp, depthwise)

    def _product(self, name: str, kind: str, weight: Tensor, bias: Tensor | None, source: Slot, planes: Planes,
                 residual: Slot | None, clamp: Clamp) -> Slot:
        slot = self._buffer(planes, True)
        before = -1 if residual is None else self.flatten(residual).buffer
        blocks = self._pack(name, kind, weight, bias, 0, 1)
        return self._did(self.engine.multiply(source.buffer, slot.buffer, before, blocks, *clamp), slot)

    def _pack(self, name: str, kind: str, weight: Tensor, bias: Tensor | None, n: int, positions: int, groups: int = 1) -> Any:
        """Pack a weight with its N (0: found from its zeros), and book the layer.

        A convolution in groups is a block-sparse one: the blocks of an output read the input channels of its group alone.
        """
        n, rows = n or (8 if self.dense else block_width(weight)), len(weight) // groups
        while n > 1 and (n > rows or (groups > 1 and rows % n)):
            n //= 2
        packed = pack(weight, n, self.dense)
        padded = np.zeros((len(packed.pointer) - 1) * n, np.float32)
        if bias is not None:
            padded[: len(weight)] = bias.detach().float().numpy()
        known = any(layer.name == name for layer in self.layers)  # a shared layer works twice and is stored once
        self.layers.append(Layer(
            name, kind, n, packed.value.size / (len(padded) * weight[0].numel()), weight.numel() * positions,
            int(torch.count_nonzero(weight)) * positions, 0 if known else packed.bytes,
        ))
        first = np.repeat(np.arange(len(packed.pointer) - 1), np.diff(packed.pointer)) * n // rows * weight.shape[1]
        index = packed.index if groups == 1 else (packed.index + first).astype(np.int32)
        return self.native.blocks(n, len(weight), packed.pointer, index, packed.tap, packed.value.ravel(), padded)

    def flatten(self, slot: Slot) -> Slot:
        """The value as a flat vector (C * H * W); copied where it lies in padded planes."""
        if not slot.compact:
            flat = self._buffer(slot.planes, True)
            slot = self._did(self.engine.pick(slot.buffer, flat.buffer, 1, 0), flat)
        channels, height, width = slot.planes
        return Slot(slot.buffer, (channels, height, width), True)

    def combine(self, one: Slot, other: Slot, kind: str = "add", clamp: Clamp = (-INFINITE, INFINITE)) -> Slot:
        """The clamped sum (``subtract``: difference, ``maximum``, ``minimum``) of two values of one shape."""
        slot = self._buffer(one.planes, one.compact)
        return self._did(self.engine.combine(one.buffer, other.buffer, slot.buffer, kind, *clamp), slot)

    def activate(self, source: Slot, kind: str, low: float, high: float) -> Slot:
        slot = self._buffer(source.planes, source.compact, source.tokens)
        return self._did(self.engine.activate(source.buffer, slot.buffer, kind, low, high), slot)

    def scale(self, source: Slot, gate: Slot) -> Slot:
        slot = self._buffer(source.planes, source.compact)
        return self._did(self.engine.scale(source.buffer, gate.buffer, slot.buffer), slot)

    def mean(self, source: Slot) -> Slot:
        slot = self._buffer((source.planes[0], 1, 1), True)
        return self._did(self.engine.mean(source.buffer, slot.buffer), slot)

    def concatenate(self, parts: list[Slot]) -> Slot:
        slot = self._buffer((sum(part.planes[0] for part in parts), *parts[0].planes[1:]), False)
        first = 0
        for part in parts:
            self._did(self.engine.pick(part.buffer, slot.buffer, 1, first), slot)
            first += part.planes[0]
        return slot

    def resize(self, source: Slot, shape: tuple[int, ...], bilinear: bool) -> Slot:
        slot = self._buffer((shape[1], shape[2], shape[3]), False)
        step = (self.engine.interpolate if bilinear else self.engine.repeat)(source.buffer, slot.buffer)
        return self._did(step, slot)

    def pool(self, source: Slot, module: Any, shape: tuple[int, ...], largest: bool) -> Slot:
        slot = self._buffer((shape[1], shape[2], shape[3]), False)
        kernel, stride, pad = (_pairwise(item) for item in (module.kernel_size, module.stride, module.padding))
        geometry = self.native.Geometry(*kernel, *stride, *pad, 1, 1)
        return self._did(self.engine.pool(source.buffer, slot.buffer, largest, geometry), slot)

    def shortcut(self, source: Slot, extra: int, stride: int) -> Slot:
        """Option A: every `stride`-th pixel into the first channels of a buffer whose `extra` others stay zero.

        It shares no memory: nobody writes those zeros again.
        """
        channels, height, width = source.planes
        planes = (channels + extra, -(-height // stride), -(-width // stride))
        slot = Slot(self._own(planes, False), planes, False)
        return self._did(self.engine.pick(source.buffer, slot.buffer, stride, 0), slot)


def _pairwise(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)
