"""Writing plans into files: a network is lowered once more, and what that would do is written down instead of done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, fx, nn

from suite.errors import UserError
from suite.kernel.emit import Emitter, Slot
from suite.kernel.graph import traced
from suite.kernel.lower import _Lowering
from suite.kernel.plan import arguments
from suite.kernel.stored import FORMAT, PARTS, STEPS, digest
from suite.modes import plain
from suite.nn import widened


def store(network: nn.Module, example: Tensor | tuple[Any, ...], path: Path, facts: Mapping[str, str]) -> None:
    """Write the plan that `lower` makes of `network` for inputs like `example`, with what a reader shall know of it.

    UserError, and no file, where a part of the network runs in torch between the steps of its plan.
    """
    from safetensors.numpy import save

    inputs = arguments(example)
    if not all(isinstance(item, Tensor) for item in inputs):
        raise UserError("A plan in a file takes arrays and this network is called with other things too; export it as .pt2.")
    try:
        lowering = _Recording(traced(widened(plain(network)), inputs))
        made = lowering.plan(inputs)
    except UserError:
        raise
    except Exception as error:
        reason = str(error).split("\n")[0].split(". ")[0]  # without the advice that follows
        raise UserError(f"The network cannot be lowered to a plan as a whole ({reason}); export it as .onnx or .pt2.") from error
    shapes = [[str(node), list(item.shape)] for node, item in zip(made.inputs, inputs, strict=True)]
    program = {"inputs": shapes, "output": lowering.structure, "steps": lowering.emit.log,
               "padding": [[*size, count] for size, count in lowering.emit.padding.items()],
               "bands": [[*size, count] for size, count in lowering.emit.bands.items()]}
    text, arrays = json.dumps(program), lowering.emit.native.arrays
    path.write_bytes(save(arrays, {**facts, "suite.plan": FORMAT, "program": text, "digest": digest(text, arrays)}))


class _Recording(_Lowering):
    """A lowering that writes its steps down and does none."""

    emit: _Recorder

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, _NoEngine([]), dense=False)
        self.emit = _Recorder(self.emit.padding, self.emit.bands)
        self.structure: Any = None

    def _output(self, node: fx.Node) -> fx.Node:
        for item in node.all_input_nodes:
            self._variable(item)
        self.structure = _structure(node.args[0])
        return node

    def _torch(self, node: fx.Node) -> None:
        raise UserError(f"The network's part '{node.name}' runs in torch, between steps of its plan, so that a file of the plan "
                        "cannot hold it; export the network as .onnx or .pt2.")


class _Recorder(Emitter):
    """Keeps what an emitter is told in `log`: values and where they end, steps, and what is written and read."""

    def __init__(self, padding: dict[tuple[int, ...], int], bands: dict[tuple[int, ...], int]) -> None:
        self.log: list[list[Any]] = []
        super().__init__(_NoEngine(self.log), False, padding, bands)
        self.native = _Described()

    def _buffer(self, planes: tuple[int, int, int], compact: bool, tokens: bool = False) -> Slot:
        slot = super()._buffer(planes, compact, tokens)
        self.log[-1] = ["value", slot.buffer, *planes, compact]  # in the memory of a dead one where there is room
        return slot

    def _own(self, planes: tuple[int, int, int], compact: bool) -> int:
        buffer = super()._own(planes, compact)
        self.log.append(["own", buffer, *planes, compact])
        return buffer

    def recycle(self, alive: set[int]) -> None:
        if gone := sorted(self.used.keys() - alive):
            self.log.append(["end", gone])
        super().recycle(alive)

    def write(self, variable: Any, shape: tuple[int, ...], tokens: bool = False) -> Slot:
        slot = super().write(variable, shape, tokens)
        self.log.append(["write", slot.buffer, str(variable), tokens])
        return slot

    def read(self, slot: Slot, variable: Any, shape: tuple[int, ...]) -> None:
        super().read(slot, variable, shape)
        self.log.append(["read", slot.buffer, str(variable), list(slot.planes), list(shape), slot.tokens])


class _NoEngine:
    """Stands for an engine that gives every value memory of its own and computes nothing."""

    threads = 1

    def __init__(self, log: list[list[Any]]) -> None:
        self.log, self.values, self.steps = log, 0, 0

    def buffer(self, *shape: Any) -> int:
        self.values += 1
        return self.values - 1

    def reuse(self, buffer: int, *shape: Any) -> int:
        return -1

    def size(self, buffer: int) -> int:
        return 0

    def how(self, step: int) -> str:
        return ""

    def finish(self) -> int:
        return -1

    def __getattr__(self, name: str) -> Any:
        if name not in STEPS:
            raise AttributeError(name)

        def step(*arguments: Any) -> int:
            self.log.append([name, *arguments])
            self.steps += 1
            return self.steps - 1

        return step


class _Described:
    """Describes weights and geometries in place of the compiled module's own."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.weights = 0

    def blocks(self, n: int, rows: int, *arrays: np.ndarray) -> dict[str, Any]:
        name = f"{self.weights:04d}"
        self.weights += 1
        self.arrays |= {f"{name}.{part}": array for part, array in zip(PARTS, arrays, strict=True)}
        return {"blocks": name, "n": n, "rows": rows}

    def Geometry(self, *numbers: int) -> dict[str, Any]:
        return {"geometry": list(numbers)}

    def Filter(self, geometry: Any, blocks: Any, low: float, high: float, depthwise: bool) -> dict[str, Any]:
        return {"filter": [geometry, blocks, low, high, depthwise]}


def _structure(output: Any) -> Any:
    """The parts of a network's output by the names of their values. UserError for what a file cannot hold."""
    if isinstance(output, fx.Node):
        return {"value": str(output)}
    if isinstance(output, (tuple, list)):
        return {"tuple": [_structure(item) for item in output]}
    if isinstance(output, dict):
        return {"dictionary": {str(name): _structure(item) for name, item in output.items()}}
    raise UserError(f"The network puts out a {type(output).__name__}, which no file of a plan holds; export it as .onnx or .pt2.")
