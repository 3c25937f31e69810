"""The formats: how a network is written, and how what was written is run again to be compared with torch."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from suite.errors import UserError, nearest
from suite.export.deployed import Deployed
from suite.export.facts import Facts, described
from suite.kernel.gate import difference, largest

BOUND = 1e-4  # of a file's outputs: largest difference from torch's, over the largest output
_FACTS = "suite.json"  # in a .pt2 file


class Written(NamedTuple):
    """A file that was written and checked: its facts, the largest relative difference from torch, on so many inputs."""

    facts: Facts
    error: float
    inputs: int


@dataclass(frozen=True)
class Format:
    """A kind of file. `write` gives the facts that it wrote; `run(path)` a function from the arguments of a call to its outputs,
    tensors in order.
    """

    write: Callable[[Deployed, Path], Facts]
    run: Callable[[Path], Callable[..., list[Tensor]]]


def export(item: Deployed, path: Path) -> Written:
    """Write a network into a file whose suffix says how, by rename after it was checked against torch on all inputs.

    UserError, and no file, where the format cannot hold the network, or a difference reaches `BOUND`.
    """
    chosen = format_of(path)
    if item.gradients:
        raise UserError(f"'{item.name}' back-propagates when it is used, and a file of any of these formats holds a forward pass "
                        f"alone; in Python, suite.load(\"{item.name}\") gives the network.")
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"'{path}' cannot be written: {'it is a folder' if path.is_dir() else 'there is no such folder'}.")
    part = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        facts = chosen.write(item, part)
        run, wanted = chosen.run(part), item.outputs()
        errors = [difference(run(*call), _tensors(right)) for call, right in zip(item.inputs, wanted, strict=True)]
        error = largest(errors)
        if not error < BOUND:  # not: NaN is wrong too
            raise UserError(f"'{path}' was not written: its outputs differ from torch's by {error:.2g} of the largest; at most "
                            f"{BOUND:g} is allowed.")
        os.replace(part, path)
    except OSError as problem:
        raise UserError(f"'{path}' cannot be written ({problem.strerror or problem}).") from problem
    finally:
        part.unlink(missing_ok=True)
    return Written(facts, error, len(errors))


def format_of(path: Path) -> Format:
    """The format that a suffix stands for. UserError for another."""
    if path.suffix not in _FORMATS:
        raise UserError(f"'{path}' names no format by its suffix '{path.suffix}'{nearest(path.suffix, SUFFIXES)}")
    return _FORMATS[path.suffix]


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _program(item: Deployed, what: str) -> tuple[torch.export.ExportedProgram, bool]:
    """The network as a graph, and whether it takes any number of inputs at a time. UserError where torch.export finds none."""
    if item.batches:
        several = tuple(torch.cat([part, part]) for part in item.inputs[0])
        free = tuple({0: torch.export.Dim("batch")} for _ in several)
        try:
            with _quiet(), torch.no_grad():
                return torch.export.export(item.network, several, dynamic_shapes=free), True
        except Exception:  # whatever it raises: a network that was written for one input is exported for one
            pass
    try:
        with _quiet(), torch.no_grad():
            return torch.export.export(item.network, item.inputs[0]), False
    except Exception as error:
        raise UserError(f"'{item.name}' cannot be exported as {what}: torch.export stops at it ({_first_line(error)}).") from error


def _quiet() -> Any:
    from suite.bench.peers import quiet

    return quiet("torch")


def _first_line(error: Exception) -> str:
    """What is wrong, without the advice that follows."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[0].split(". ")[0][:160] if lines else type(error).__name__


def _ends(item: Deployed, batch: bool) -> Facts:
    """The facts of inputs and outputs; `batch`: of any number."""
    outputs = item.outputs()[0]
    names = _output_names(item, outputs)
    shown = {"inputs": zip(_input_names(item), _tensors(item.inputs[0]), strict=True),
             "outputs": zip(names, _tensors(outputs), strict=True)}
    return {key: json.dumps([described(name, [*(["batch"] if batch else values.shape[:1]), *values.shape[1:]],
                                       str(values.dtype).removeprefix("torch.")) for name, values in pairs])
            for key, pairs in shown.items()}


def _input_names(item: Deployed) -> list[str]:
    """``image`` for a single picture, ``input`` for anything else that is single, else as the network's forward calls them."""
    tensors = _tensors(item.inputs[0])
    if len(tensors) == 1:
        return ["image" if tensors[0].dim() == 4 and tensors[0].shape[1] == 3 else "input"]
    names = list(inspect.signature(item.network.forward).parameters)
    known = len(names) == len(tensors) == len(item.inputs[0]) and "args" not in names
    return names if known else [f"input_{place}" for place in range(len(tensors))]


def _output_names(item: Deployed, outputs: Any) -> list[str]:
    if isinstance(outputs, Mapping) and all(isinstance(values, Tensor) for values in outputs.values()):
        return list(map(str, outputs))
    count = len(_tensors(outputs))
    return ["logits" if item.batches else "output"] if count == 1 else [f"output_{place}" for place in range(count)]


def _write_onnx(item: Deployed, path: Path) -> Facts:
    from suite.bench.peers import quiet

    if absent := [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]:
        raise UserError(f"An .onnx file needs {' and '.join(absent)}, which is missing; type: pip install 'suite[export]'")
    program, batch = _program(item, "ONNX")
    facts = item.facts | _ends(item, batch)
    try:
        with quiet("torch.onnx"), torch.no_grad():
            made = torch.onnx.export(program, input_names=_input_names(item), verbose=False, dynamo=True,
                                     output_names=_output_names(item, item.outputs()[0]))
    except Exception as error:  # whatever it raises
        reason = _first_line(error.__cause__ if isinstance(error.__cause__, Exception) else error)
        raise UserError(f"'{item.name}' cannot be exported as ONNX: torch.onnx stops at it ({reason}); try .pt2.") from error
    assert made is not None
    model = made.model_proto
    for name, text in facts.items():
        model.metadata_props.add(key=name, value=text)
    path.write_bytes(model.SerializeToString())
    return facts


def _run_onnx(path: Path) -> Callable[..., list[Tensor]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]

    def run(*call: Any) -> list[Tensor]:
        arrays = [item.numpy() for item in _tensors(call)]
        return [torch.from_numpy(item) for item in session.run(None, dict(zip(names, arrays, strict=True)))]

    return run


def _write_program(item: Deployed, path: Path) -> Facts:
    program, batch = _program(item, "a PyTorch program")
    facts = item.facts | _ends(item, batch)
    with _quiet():  # of shared memory of weights that it looks at
        torch.export.save(program, path, extra_files={_FACTS: json.dumps(facts)})
    return facts


def _run_program(path: Path) -> Callable[..., list[Tensor]]:
    with _quiet():
        module = torch.export.load(path).module()

    def run(*call: Any) -> list[Tensor]:
        with torch.no_grad():
            return _tensors(module(*call))

    return run


def _write_weights(item: Deployed, path: Path) -> Facts:
    from suite import references

    facts = item.facts | _ends(item, item.batches)
    content = references.packed(item.artifact, references.digest_of(item.artifact), facts, exact=False)
    if content is None:
        raise UserError(f"'{item.name}' cannot be exported as safetensors: its network is not one that suite.nn builds, so that "
                        "weights alone would not give it back; export it as .pt2 or .onnx.")
    path.write_bytes(content)
    return facts


def _run_weights(path: Path) -> Callable[..., list[Tensor]]:
    from suite import references

    artifact = references.read(path)
    network = getattr(artifact, "body", None) or artifact.module

    def run(*call: Any) -> list[Tensor]:
        with torch.inference_mode():
            return _tensors(network(*call))

    return run


def _write_plan(item: Deployed, path: Path) -> Facts:
    from suite.kernel import store

    facts = item.facts | _ends(item, batch=False)
    try:
        store(item.network, item.inputs[0], path, facts)
    except UserError as error:
        raise UserError(f"'{item.name}': {error}") from error
    return facts


def _run_plan(path: Path) -> Callable[..., list[Tensor]]:
    from suite.kernel import load

    plan = load(path)
    return lambda *call: [torch.from_numpy(item) for item in tree_leaves(plan(*call))]


_FORMATS = {
    ".onnx": Format(_write_onnx, _run_onnx),
    ".safetensors": Format(_write_weights, _run_weights),
    ".pt2": Format(_write_program, _run_program),
    ".plan": Format(_write_plan, _run_plan),
}
SUFFIXES = tuple(_FORMATS)
