"""Plans from files: a lowered network that another machine runs without the code that made it, from and to numpy arrays.

A file is in the safetensors format; nothing in it is run. Its tensors are the packed blocks, and its header holds the steps as
`Emitter` takes them, before any of them is laid out for a processor: where values lie and in how many bands is decided when the
file is loaded, for the processor and the threads there. `suite.kernel.recording` writes such files.
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

from suite.errors import UserError
from suite.kernel.emit import Emitter, Slot
from suite.kernel.plan import Native, Read, Write, engine, native

FORMAT = "1"  # of the files
PARTS = ("pointer", "index", "tap", "value", "bias")  # of packed blocks
STEPS: dict[str, tuple[int, ...]] = {  # of an engine, with the places of the values among their arguments
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
    if facts.pop("digest") != digest(text, arrays):
        raise UserError(f"'{path}' is damaged: its digest is another; write it again with: suite export RECORD --to {path}")
    return _replayed(json.loads(text), arrays, facts, threads)


def digest(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    """64 hex digits over a file's program and its arrays."""
    found = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        found.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        found.update(np.ascontiguousarray(arrays[name]).data)
    return found.hexdigest()


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
        elif name in STEPS:
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
    return [slots[item].buffer if place in STEPS[step] and item >= 0 else _made(item, arrays) for place, item in enumerate(given)]


def _made(item: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """What `suite.kernel.recording` has described."""
    if not isinstance(item, dict):
        return item
    if "geometry" in item:
        return native().Geometry(*item["geometry"])
    if "filter" in item:
        return native().Filter(*(_made(part, arrays) for part in item["filter"]))
    return native().blocks(item["n"], item["rows"], *(arrays[f"{item['blocks']}.{part}"] for part in PARTS))


def _filled(structure: Any, values: Mapping[str, np.ndarray]) -> Any:
    """The output with the arrays in their places."""
    if "value" in structure:
        return values[structure["value"]]
    if "tuple" in structure:
        return tuple(_filled(item, values) for item in structure["tuple"])
    return {name: _filled(item, values) for name, item in structure["dictionary"].items()}
