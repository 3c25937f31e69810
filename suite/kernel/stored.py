"""Plans in files: a lowered network that another machine runs without the code that made it, from and to numpy arrays.

A file is in the safetensors format; nothing in it is run. Its tensors are the packed blocks, and its header holds the steps as
`Emitter` takes them, before any of them is laid out for a processor: where values lie and in how many bands is decided when the
file is loaded, for the processor and the threads there.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, fx, nn

from suite.errors import UserError
from suite.kernel.emit import Emitter, Slot
from suite.kernel.graph import traced
from suite.kernel.lower import _Lowering
from suite.kernel.plan import Native, Read, Write, arguments, engine, native
from suite.modes import plain
from suite.nn import widened

FORMAT = "1"  # of the files
_PARTS = ("pointer", "index", "tap", "value", "bias")  # of packed blocks
_STEPS: dict[str, tuple[int, ...]] = {  # of an engine, with the places of the values among their arguments
    "convolve": (0, 1, 2), "convolve_pair": (0, 4), "multiply": (0, 1, 2), "combine": (0, 1, 2), "activate": (0, 1),
    "scale": (0, 1, 2), "mean": (0, 1), "pool": (0, 1), "pick": (0, 1), "repeat": (0, 1), "interpolate": (0, 1)}


@dataclass
class StoredPlan:
    """A plan from a file: ``plan(image)`` is the network's output for an image (1, C, H, W) float32, an array for an array.

    `inputs` are the names and shapes that it takes, `facts` what the file says about the network: texts by name.
    """

    engine: Any
    program: list[Native | Write | Read]
    inputs: dict[str, tuple[int, ...]]
    output: Any
    facts: dict[str, str]
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __call__(self, *inputs: Any) -> Any:
        """An array, or a dictionary or tuple of arrays where the network gives one. ValueError for inputs of other shapes."""
        given = [np.asarray(item, np.float32) for item in inputs]
        if [item.shape for item in given] != list(self.inputs.values()):
            raise ValueError(f"the plan takes arrays of {list(self.inputs.values())}, not {[item.shape for item in given]}")
        values = dict(zip(self.inputs, given, strict=True))
        with self._lock:
            for part in self.program:
                if isinstance(part, Native):
                    self.engine.run(part.first, part.last)
                elif isinstance(part, Write):
                    self.engine.write(part.buffer, _planes(values[part.variable], part.tokens))
                else:
                    values[part.variable] = self._read(part)
        return _filled(self.output, values)

    def _read(self, part: Read) -> np.ndarray:
        planes = np.empty(part.planes, np.float32)
        self.engine.read(part.buffer, planes)
        return (planes[:, 0].T if part.tokens else planes).reshape(part.shape)


def _planes(values: np.ndarray, tokens: bool) -> np.ndarray:
    """(C, H, W) of an array (1, C, H, W) or (1, C); of tokens, C planes of one row."""
    if tokens:
        return np.ascontiguousarray(values.reshape(-1, values.shape[-1]).T[:, None])
    return np.ascontiguousarray(values.reshape(values.shape[1:] if values.ndim == 4 else (values.shape[-1], 1, 1)))


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
    path.write_bytes(save(arrays, {**facts, "suite.plan": FORMAT, "program": text, "digest": _digest(text, arrays)}))


def load(path: str | Path, threads: int = 1) -> StoredPlan:
    """The plan in a file that ``suite export`` wrote, on so many `threads`: no other code and no weights are needed.

    UserError for a file that holds none, or one that is damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise UserError(f"There is no file '{path}'; write one with: suite export RECORD --to {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            facts, arrays = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"'{path}' is no plan ({error}); write one with: suite export RECORD --to {path}") from error
    if "suite.plan" not in facts:
        raise UserError(f"'{path}' holds weights and no plan; load it with suite.load(\"{path}\").")
    if facts["suite.plan"] != FORMAT:
        raise UserError(f"'{path}' is a plan of format {facts['suite.plan']}, this suite knows {FORMAT}; install a newer suite.")
    text = facts.pop("program")
    if facts.pop("digest") != _digest(text, arrays):
        raise UserError(f"'{path}' is damaged: its digest is another; write it again with: suite export RECORD --to {path}")
    return _replayed(json.loads(text), arrays, facts, threads)


def _digest(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    found = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        found.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        found.update(np.ascontiguousarray(arrays[name]).data)
    return found.hexdigest()


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
        raise UserError(f"The network's part '{node.name}' runs in torch, between steps of its plan, so that no file of a plan alone can "
                        "hold it; export the network as .onnx or .pt2.")


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
        if name not in _STEPS:
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
        self.arrays |= {f"{name}.{part}": array for part, array in zip(_PARTS, arrays, strict=True)}
        return {"blocks": name, "n": n, "rows": rows}

    def Geometry(self, *numbers: int) -> dict[str, Any]:  # noqa: N802, the compiled module's name
        return {"geometry": list(numbers)}

    def Filter(self, geometry: Any, blocks: Any, low: float, high: float, depthwise: bool) -> dict[str, Any]:  # noqa: N802
        return {"filter": [geometry, blocks, low, high, depthwise]}


def _replayed(program: Mapping[str, Any], arrays: Mapping[str, np.ndarray], facts: dict[str, str], threads: int) -> StoredPlan:
    """Emit the steps of a file on an engine of this machine."""
    def by_size(rows: list[list[int]]) -> dict[tuple[int, ...], int]:
        return {(height, width): count for height, width, count in rows}

    bands = {size: -(-count // threads) for size, count in by_size(program["bands"]).items()}
    emit = Emitter(engine(threads), False, by_size(program["padding"]), bands)
    slots: dict[int, Slot] = {}
    for name, *given in program["steps"]:
        if name in ("value", "own"):
            number, *planes, compact = given
            size = (planes[0], planes[1], planes[2])
            slots[number] = emit._buffer(size, compact) if name == "value" else Slot(emit._own(size, compact), size, compact)
        elif name == "end":
            emit.recycle(emit.used.keys() - {slots[number].buffer for number in given[0]})
        elif name == "write":
            emit.program.append(Write(given[1], slots[given[0]].buffer, given[2]))
        elif name == "read":
            emit.program.append(Read(slots[given[0]].buffer, given[1], tuple(given[2]), tuple(given[3]), given[4]))
        elif name in _STEPS:
            step = getattr(emit.engine, name)(*_arguments(name, given, slots, arrays))
            emit._did(step, Slot(-1, (0, 0, 0), True))
        else:
            raise UserError(f"The plan has a step '{name}' that this suite does not know; install a newer suite.")
    emit.finish()
    inputs = {name: tuple(shape) for name, shape in program["inputs"]}
    return StoredPlan(emit.engine, [part for part in emit.program if isinstance(part, Native | Write | Read)], inputs,
                      program["output"], facts)


def _arguments(step: str, given: list[Any], slots: Mapping[int, Slot], arrays: Mapping[str, np.ndarray]) -> list[Any]:
    """The arguments of a step for an engine on which values lie elsewhere; -1 stays: it is no value."""
    return [slots[item].buffer if place in _STEPS[step] and item >= 0 else _made(item, arrays) for place, item in enumerate(given)]


def _made(item: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """What `_Described` has described."""
    if not isinstance(item, dict):
        return item
    if "geometry" in item:
        return native().Geometry(*item["geometry"])
    if "filter" in item:
        return native().Filter(*(_made(part, arrays) for part in item["filter"]))
    return native().blocks(item["n"], item["rows"], *(arrays[f"{item['blocks']}.{part}"] for part in _PARTS))


def _structure(output: Any) -> Any:
    """The parts of a network's output by the names of their values. UserError for what a file cannot hold."""
    if isinstance(output, fx.Node):
        return {"value": str(output)}
    if isinstance(output, (tuple, list)):
        return {"tuple": [_structure(item) for item in output]}
    if isinstance(output, dict):
        return {"dictionary": {str(name): _structure(item) for name, item in output.items()}}
    raise UserError(f"The network puts out a {type(output).__name__}, which no file of a plan holds; export it as .onnx or .pt2.")


def _filled(structure: Any, values: Mapping[str, np.ndarray]) -> Any:
    """The output with the arrays in their places."""
    if "value" in structure:
        return values[structure["value"]]
    if "tuple" in structure:
        return tuple(_filled(item, values) for item in structure["tuple"])
    return {name: _filled(item, values) for name, item in structure["dictionary"].items()}
