"""Counting multiply-accumulates, parameters and bytes.

The rules: a multiply-accumulate (MAC) of a convolution, a linear layer or an explicit matrix product (attention too)
counts one; biases, normalisations, activations, pooling and softmax count nothing. The count is taken below Python's
layer functions, at torch's own operators, so that it sees whatever a network does, and attention layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from suite.nn.trace import evaluating


@dataclass(frozen=True)
class Layer:
    """One module that owns parameters or spends MACs; `effective` and `nonzero` leave zero weights out.

    A module's parameters include those of submodules that are never called themselves. `output` is the shape of its
    last output.
    """

    name: str
    kind: str
    macs: int
    effective: int
    params: int
    nonzero: int
    output: tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """What one call of a network costs (for the whole batch it was given).

    `params` counts weights, biases and the affine part of normalisations, of parametrised layers the resulting weight;
    `bytes_dense` is their storage. `macs` is for dense shapes; `macs_effective` counts a weight that is zero as no work,
    exactly: non-zero weights times the positions where each is used. `ops` are single operations (mul, add, xnor):
    one of each of the first two per MAC, and what modules declare. `uncounted` names the types of modules with weight
    matrices, and the operators, whose work could not be counted.
    """

    params: int
    params_nonzero: int
    bytes_dense: int
    macs: int
    macs_effective: int
    ops: Mapping[str, int]
    layers: tuple[Layer, ...]
    uncounted: tuple[str, ...]


def count(network: nn.Module | Callable[..., Any], inputs: Tensor | tuple[Any, ...]) -> Cost:
    """The cost of ``network(*inputs)`` in evaluation mode. Runs it once; on the meta device no numbers are needed
    (then every weight counts as non-zero).

    A module that does something else than MACs may declare ``cost(inputs)``, called with the tuple of its positional
    arguments, which returns a dict with any of: mul, add, xnor (single operations), bits (the storage of its
    parameters) and macs (its MAC-equivalents; mul unless given). Nothing within such a module is counted again.
    """
    counter = _Counter(network if isinstance(network, nn.Module) else nn.Module())
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluating(counter.network))
        # Fused attention would be one opaque operator; these make it matrix products. Both are undone on leaving.
        stack.enter_context(_slow_attention())
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(counter.listening())
        stack.enter_context(counter)
        network(*(inputs if isinstance(inputs, tuple) else (inputs,)))
    return counter.cost()


def thop_macs(network: nn.Module, inputs: Tensor) -> int:
    """"FLOPs" as old versions of the thop package count them, to check published percentages (ABCPruner and others).

    Convolutions: MACs, plus one per output element if there is a bias; batch normalisation: 4 per element; linear
    layers: 2 * inputs - 1 per output; all else nothing.
    """
    total = 0

    def add(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output.numel() * (prod(module.weight.shape[1:]) + (module.bias is not None))
        elif isinstance(module, nn.BatchNorm2d):
            total += 4 * output.numel()
        elif isinstance(module, nn.Linear):
            total += output.numel() * (2 * module.in_features - 1)

    handles = [module.register_forward_hook(add) for module in network.modules()]
    try:
        with evaluating(network), torch.no_grad():
            network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return total


@contextmanager
def _slow_attention() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


# Where the two factors of an operator stand among its arguments.
_PRODUCTS = {"mm": (0, 1), "bmm": (0, 1), "mv": (0, 1), "dot": (0, 1), "linear": (0, 1)}
_PRODUCTS |= {"addmm": (1, 2), "baddbmm": (1, 2), "addmv": (1, 2), "addbmm": (1, 2)}
# Parts of names of operators that do heavy work in ways not counted here.
_OPAQUE = ("cdist", "fft", "rnn", "lstm", "gru", "attention", "int_mm", "scaled_mm", "addr", "sparse", "trilinear")
_FREE = (nn.Embedding, nn.EmbeddingBag)  # tables are looked up


class _Counter(TorchDispatchMode):
    """Sees every operator and books its MACs on the innermost module that is running."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.names = {module: name for name, module in network.named_modules() if "parametrizations" not in name}
        self.running: list[nn.Module] = []
        self.declared: dict[nn.Module, dict[str, int]] = {}
        self.outputs: dict[nn.Module, tuple[int, ...]] = {}
        self.macs: dict[nn.Module, list[int]] = {}  # dense, effective
        self.opaque: set[str] = set()
        # Storages that hold nothing but weights, kept alive so that no other storage takes their identity.
        self.weights = {values.untyped_storage()._cdata: values for values in _held(network)}

    @contextmanager
    def listening(self) -> Iterator[None]:
        handles = []
        for module in self.names:
            handles.append(module.register_forward_pre_hook(self._enter))
            handles.append(module.register_forward_hook(self._leave, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if hasattr(module, "cost") and not any(outer in self.declared for outer in self.running):
            total = self.declared.setdefault(module, {})
            for key, value in module.cost(inputs).items():  # type: ignore[operator]
                total[key] = value if key == "bits" else total.get(key, 0) + value
        self.running.append(module)

    def _leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.running.pop()
        self.outputs[module] = next((tuple(leaf.shape) for leaf in tree_leaves(output) if isinstance(leaf, Tensor)), ())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if leaves:
            from_weights = all(self._is_weight(leaf) for leaf in leaves)
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor) and leaf.layout == torch.strided:
                    self._mark(leaf, from_weights)
        if not any(module in self.declared for module in self.running):
            self._book(func, args, result)
        return result

    def _is_weight(self, values: Tensor) -> bool:
        return values.layout == torch.strided and values.untyped_storage()._cdata in self.weights

    def _mark(self, values: Tensor, weight: bool) -> None:
        key = values.untyped_storage()._cdata
        if weight:
            self.weights[key] = values
        else:
            self.weights.pop(key, None)

    def _book(self, func: Any, args: Any, result: Any) -> None:
        space, name = func._schema.name.split("::")
        name = name.strip("_")
        if name == "convolution":
            images, weight, transposed = args[0], args[1], args[6]
            positions = (images if transposed else result).numel() // (weight.shape[0] if transposed else result.shape[1])
            if transposed:
                positions = images.numel() // images.shape[1]
            self._add(weight.numel() * positions, self._nonzero(weight) * positions)
        elif name in _PRODUCTS:
            first, second = (args[place] for place in _PRODUCTS[name])
            rows = first.numel() // first.shape[-1]
            columns = second.numel() // first.shape[-1]
            if name in ("bmm", "baddbmm", "addbmm"):
                rows, columns = first.shape[1], second.shape[2]
            dense = first.numel() * columns
            effective = self._nonzero(first) * columns if self._is_weight(first) else self._nonzero(second) * rows
            self._add(dense, effective if self._is_weight(first) != self._is_weight(second) else dense)
        elif space not in ("aten", "prim", "prims") or any(part in name for part in _OPAQUE):
            self.opaque.add(f"{space}::{name}")

    def _nonzero(self, weight: Tensor) -> int:
        return _nonzero(weight) if self._is_weight(weight) else weight.numel()

    def _add(self, dense: int, effective: int) -> None:
        total = self.macs.setdefault(self.running[-1] if self.running else self.network, [0, 0])
        total[0] += dense
        total[1] += effective

    def cost(self) -> Cost:
        for module, declared in self.declared.items():
            macs = declared.get("macs", declared.get("mul", 0))
            self.macs[module] = [macs, macs]
        plain = sum(dense for module, (dense, _) in self.macs.items() if module not in self.declared)
        ops = {
            "mul": plain + sum(declared.get("mul", 0) for declared in self.declared.values()),
            "add": plain + sum(declared.get("add", 0) for declared in self.declared.values()),
            "xnor": sum(declared.get("xnor", 0) for declared in self.declared.values()),
        }
        weights = {module: _weights(module) for module in self.names}
        everything = list({id(values): values for own in weights.values() for values in own}.values())
        layers = [layer for module in self.names if (layer := self._layer(module, weights))]
        return Cost(
            params=sum(values.numel() for values in everything),
            params_nonzero=sum(map(_nonzero, everything)),
            bytes_dense=sum(values.numel() * values.element_size() for values in everything),
            macs=sum(dense for dense, _ in self.macs.values()),
            macs_effective=sum(effective for _, effective in self.macs.values()),
            ops=ops,
            layers=tuple(layers),
            uncounted=tuple(sorted(self.opaque | self._without_macs(weights))),
        )
