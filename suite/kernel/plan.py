"""A lowered network: native steps on the engine's buffers, with torch calls between them where need be."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suite.errors import UserError


def native() -> Any:
    """The compiled module. UserError where the suite was not built."""
    try:
        from suite.kernel import _kernel  # type: ignore[attr-defined]
    except ImportError as error:
        raise UserError(f"The compiled kernel is missing ({error}); install the suite with: pip install .") from error
    return _kernel


def engine(threads: int) -> Any:
    """A new engine on the SIMD path of ``SUITE_SIMD``, else the best of this CPU. UserError for one it lacks."""
    try:
        return native().Engine(os.environ.get("SUITE_SIMD", ""), threads)
    except ValueError as error:
        raise UserError(f"{error}.") from error


def simd_path() -> str:
    """The SIMD path that plans take here: avx512, avx2 or portable."""
    return engine(1).simd


@dataclass
class Layer:
    """One layer inside the plan; `kept` is the share of weights stored (padding zeros count as stored).

    `how` is what the plan chose for it: output channels by vectors in a register tile; bands of rows that pass through the layers
    one by one; chunks of a band that stay in the cache while all weights pass over them; whether the input is copied by stride
    phases first; whether the depthwise layer behind it runs with it.
    """

    name: str
    kind: str
    n: int
    kept: float
    macs: int
    effective: int
    bytes: int
    how: str = ""


@dataclass
class Native:
    """Run the engine's steps first .. last - 1."""

    first: int
    last: int


@dataclass
class Write:
    """Put a tensor into a buffer: (1, C, H, W), (1, C), or tokens (1, T, C) or (T, C) as C planes of T pixels."""

    variable: Any
    buffer: int
    tokens: bool


@dataclass
class Read:
    """Make a tensor of `shape` from a buffer whose planes are `planes` (C, H, W)."""

    buffer: int
    variable: Any
    planes: tuple[int, int, int]
    shape: tuple[int, ...]
    tokens: bool


@dataclass
class Call:
    """Run one operation of the network in torch."""

    function: Callable[[dict[Any, Any]], Any]
    variable: Any


@dataclass
class Plan:
    """A network on batch 1: ``plan(*inputs)`` is ``network(*inputs)`` to within rounding. Made by `lower`."""

    engine: Any
    signature: Any  # of the inputs
    program: list[Native | Write | Read | Call]
    inputs: list[Any]  # the variables that hold them
    output: Any
    layers: list[Layer] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)  # parts with MACs that run in torch, "name: why"
    macs_share: float = 0.0  # of the network's MACs inside the plan, 0..1
    gradients: bool = False  # the network back-propagates
    _lock: Any = field(default_factory=threading.Lock, repr=False)
    _torn: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        _PLANS[id(self)] = self

    @property
    def bytes(self) -> int:
        """Bytes of the packed weights."""
        return sum(layer.bytes for layer in self.layers)

    @property
    def simd(self) -> str:
        """The SIMD path in use."""
        return self.engine.simd

    @property
    def threads(self) -> int:
        """Threads that share the work."""
        return self.engine.threads

    def __call__(self, *inputs: Any) -> Any:
        """The network's output for `inputs` of the shapes it was lowered for, images (1, C, H, W) float32. Calls queue up.

        In a forked process a plan works on as a copy with threads of its own. RuntimeError where it was forked in the middle of a
        call by another thread: its buffers are as that call left them.
        """
        if self._torn:
            raise RuntimeError("another thread was running this plan when the process forked; lower the network again in the child")
        if (given := signature(inputs)) != self.signature:
            raise ValueError(f"the plan was lowered for inputs of {self.signature}, not {given}")
        values: dict[Any, Any] = dict(zip(self.inputs, inputs, strict=True))
        with torch.inference_mode(not self.gradients), self._lock:
            for part in self.program:
                if isinstance(part, Native):
                    self.engine.run(part.first, part.last)
                elif isinstance(part, Write):
                    tensor = values[part.variable].float()
                    tensor = tensor.flatten(0, -2).T.unsqueeze(1) if part.tokens else tensor.reshape(*_volume(tensor.shape))
                    self.engine.write(part.buffer, tensor.contiguous().numpy())
                elif isinstance(part, Read):
                    planes = np.empty(part.planes, np.float32)
                    self.engine.read(part.buffer, planes)
                    tensor = torch.from_numpy(planes)
                    values[part.variable] = (tensor[:, 0].T if part.tokens else tensor).reshape(part.shape)
                else:
                    values[part.variable] = part.function(values)
        return values[self.output]


def _volume(shape: Sequence[int]) -> tuple[int, int, int]:
    """(C, H, W) of a tensor (1, C, H, W) or (1, C)."""
    return (shape[1], shape[2], shape[3]) if len(shape) == 4 else (shape[-1], 1, 1)


def arguments(inputs: Tensor | tuple[Any, ...]) -> tuple[Any, ...]:
    """One input of a network as its positional arguments."""
    return inputs if isinstance(inputs, tuple) else (inputs,)


def signature(inputs: Any) -> Any:
    """What a plan for `inputs` is made for: the shapes of tensors, also of those in lists and dictionaries; all else itself."""
    if isinstance(inputs, Tensor):
        return tuple(inputs.shape)
    if isinstance(inputs, (tuple, list)):
        return [signature(item) for item in inputs]
    return {key: signature(item) for key, item in inputs.items()} if isinstance(inputs, dict) else inputs


_PLANS: weakref.WeakValueDictionary[int, Plan] = weakref.WeakValueDictionary()


def _forked() -> None:
    """In a child process: nobody there can end a call that another thread of the parent was in."""
    for plan in list(_PLANS.values()):
        if plan._lock.locked():
            plan._torn = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
