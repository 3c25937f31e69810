"""Counting multiply-accumulates, parameters and bytes.

The rules: a multiply-accumulate (MAC) of a convolution, a linear layer or an explicit matrix product (attention too)
counts one; biases, normalisations, activations, pooling and softmax count nothing. The count is taken below Python's
layer functions, at torch's own operators, so that it sees whatever a network does, and attention layer by layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from suite.modes import computes_weights, evaluating, plain


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

    `params` counts weights, biases and the affine part of normalisations, of parametrised and masked layers the resulting weight;
    `bytes_dense` is their storage, or what modules declare. `macs` is for dense shapes; `macs_effective` counts a
    weight that is zero as no work, exactly: non-zero weights times the positions where each is used. `ops` are single
    operations (mul, add, xnor): one of each of the first two per MAC, and what modules declare. `uncounted` names the
    types of modules with weight matrices, and the operators, whose work could not be counted: where there are any, all
    figures in MACs and operations are too small.
    """

    params: int
    params_nonzero: int
    bytes_dense: int
    macs: int
    macs_effective: int
    ops: Mapping[str, int]
    layers: tuple[Layer, ...]
    uncounted: tuple[str, ...]


def count(network: nn.Module | Callable[..., Any], inputs: Tensor | tuple[Any, ...], gradients: bool = False) -> Cost:
    """The cost of ``network(*inputs)`` in evaluation mode. Runs it once; on the meta device no numbers are needed
    (then every weight counts as non-zero). With `gradients` a network may back-propagate in its forward: the backward pass's
    MACs are counted too, on the module that asked for it.

    A module that does something else than MACs may declare ``cost(inputs)``, called with the tuple of its positional
    arguments, which returns a dict with any of: mul, add, xnor (single operations), bits (the storage of its
    parameters) and macs (its MAC-equivalents; mul unless given). Nothing within such a module is counted again.
    """
    if isinstance(network, nn.Module) and any(map(computes_weights, network.modules())):
        network = plain(network)
    counter = _Counter(network if isinstance(network, nn.Module) else nn.Module())
    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(gradients))
        stack.enter_context(evaluating(counter.network))
        # Fused attention would be one opaque operator; these make it matrix products. Both are undone on leaving.
        stack.enter_context(_slow_attention())
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(counter.listening())
        stack.enter_context(counter)
        network(*(inputs if isinstance(inputs, tuple) else (inputs,)))
    return counter.cost()


@contextmanager
def _slow_attention() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


# Where the two factors of an operator stand among its arguments.
_FACTORS = {"mm": (0, 1), "bmm": (0, 1), "mv": (0, 1), "dot": (0, 1), "linear": (0, 1)}
_FACTORS |= {"addmm": (1, 2), "addmm_activation": (1, 2), "baddbmm": (1, 2), "addmv": (1, 2), "addbmm": (1, 2)}
# Names of operators that do heavy work in ways not counted here.
_OPAQUE = re.compile(
    r"cdist|fft|rnn|attention|sparse|^trilinear|conv|matmul|mm(_|$)|mkldnn_linear|^vdot$|linalg_(?!vector_norm|cross)")
_FREE = (nn.Embedding, nn.EmbeddingBag)  # tables are looked up


class _Counter(TorchDispatchMode):
    """Sees every operator and books its MACs on the innermost module that is running."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.names = {module: name for name, module in network.named_modules()}
        self.running: list[nn.Module] = []
        self.outputs: dict[nn.Module, tuple[int, ...]] = {}  # of every module that was called
        self.declared: dict[nn.Module, dict[str, int]] = {}
        self.macs: dict[nn.Module, tuple[int, int]] = {}  # dense, effective
        self.opaque: set[str] = set()
        # Storages that hold nothing but weights; the tensors are kept so that no other storage takes their identity.
        self.weights = {_storage(values): values for values in (*network.parameters(), *network.buffers())}

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
        if callable(declare := getattr(module, "cost", None)) and not self._covered():
            total = self.declared.setdefault(module, {})
            for key, value in declare(inputs).items():
                total[key] = value if key == "bits" else total.get(key, 0) + value
        self.running.append(module)

    def _leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.running.pop()
        self.outputs[module] = next((tuple(leaf.shape) for leaf in _tensors(output)), ())

    def _covered(self) -> bool:
        return any(module in self.declared for module in self.running)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        sources = [self._is_weight(leaf) for leaf in _tensors((args, kwargs))]
        result = func(*args, **(kwargs or {}))
        if not self._covered():
            self._book(func, args, result)
        # What is computed from weights alone (a mask applied, a transposition) is a weight.
        for leaf in _tensors(result):
            if sources and all(sources):
                self.weights.setdefault(_storage(leaf), leaf)
            else:
                self.weights.pop(_storage(leaf), None)
        return result

    def _is_weight(self, values: Tensor) -> bool:
        return _storage(values) in self.weights

    def _book(self, func: Any, args: Any, result: Any) -> None:
        space, name = func._schema.name.split("::")
        name = name.strip("_")
        if name == "convolution":
            images, weight, transposed = args[0], args[1], args[6]
            where = images if transposed else result  # each weight is used once for every pixel of it
            positions = where.numel() // where.shape[1]
            self._add(weight.numel() * positions, self._nonzero(weight) * positions)
        elif name == "convolution_backward":
            weight, (to_images, to_weight, _) = args[2], args[10]
            where = args[1] if args[7] else args[0]  # transposed: the images, else the gradients of the result
            dense = weight.numel() * (positions := where.numel() // where.shape[1])
            effective = self._nonzero(weight) * positions * to_images + dense * to_weight  # the latter multiplies activations
            self._add(dense * (to_images + to_weight), effective)
        elif name in _FACTORS:
            first, second = (args[place] for place in _FACTORS[name])
            batch = first.shape[0] if first.ndim == second.ndim == 3 else 1
            rows = first.numel() // batch // first.shape[-1]
            columns = second.numel() // batch // first.shape[-1]
            dense = first.numel() * columns
            if self._is_weight(first) == self._is_weight(second):
                self._add(dense, dense)
            else:
                self._add(dense, self._nonzero(first) * columns if self._is_weight(first) else _nonzero(second) * rows)
        elif name == "mkldnn_rnn_layer":  # an LSTM in one direction: (steps, images, inputs), then two weights for every step
            positions = args[0].shape[0] * args[0].shape[1]
            self._add((args[1].numel() + args[2].numel()) * positions, sum(map(self._nonzero, args[1:3])) * positions)
        elif space not in ("aten", "prim", "prims") or _OPAQUE.search(name):
            self.opaque.add(f"{space}::{name}")

    def _nonzero(self, values: Tensor) -> int:
        return _nonzero(values) if self._is_weight(values) else values.numel()

    def _add(self, dense: int, effective: int) -> None:
        module = self.running[-1] if self.running else self.network
        self.outputs.setdefault(module, ())
        before = self.macs.get(module, (0, 0))
        self.macs[module] = before[0] + dense, before[1] + effective

    def cost(self) -> Cost:
        plain = sum(dense for dense, _ in self.macs.values())
        ops = {key: sum(total.get(key, 0) for total in self.declared.values()) for key in ("mul", "add", "xnor")}
        for module, total in self.declared.items():
            macs = total.get("macs", total.get("mul", 0))
            self.macs[module] = macs, macs
        # Values by identity: what modules share counts once. Where a module declares bits, those are its storage.
        held = {id(values): values for module in self.names for values in _own(module)}
        bits = {key: 8 * values.numel() * values.element_size() for key, values in held.items()}
        for module, total in self.declared.items():
            if "bits" in total:
                bits |= {id(values): 0 for values in _own(module)} | {id(module): total["bits"]}
        return Cost(
            params=sum(values.numel() for values in held.values()),
            params_nonzero=sum(map(_nonzero, held.values())),
            bytes_dense=-(-sum(bits.values()) // 8),
            macs=sum(dense for dense, _ in self.macs.values()),
            macs_effective=sum(effective for _, effective in self.macs.values()),
            ops={"mul": ops["mul"] + plain, "add": ops["add"] + plain, "xnor": ops["xnor"]},
            layers=tuple(layer for module in self.outputs if (layer := self._layer(module))),
            uncounted=tuple(sorted(self.opaque | self._without_macs())),
        )

    def _layer(self, module: nn.Module) -> Layer | None:
        weights = self._weights(module)
        if not weights and module not in self.macs:
            return None
        dense, effective = self.macs.get(module, (0, 0))
        params = sum(values.numel() for values in weights)
        nonzero = sum(map(_nonzero, weights))
        return Layer(self.names[module], type(module).__name__, dense, effective, params, nonzero, self.outputs[module])

    def _weights(self, module: nn.Module) -> list[Tensor]:
        """Of `module` and of the modules in it that are never called (the projections inside attention)."""
        inner = [child for child in module.children() if child in self.names and child not in self.outputs]
        return _own(module) + [values for child in inner for values in self._weights(child)]

    def _without_macs(self) -> set[str]:
        return {
            type(module).__name__
            for module in self.outputs
            if not isinstance(module, _FREE)
            and not any(part in self.macs for part in module.modules())
            and any(values.ndim > 1 for values in self._weights(module))
        }


def _own(module: nn.Module) -> list[Tensor]:
    return [values for values in module._parameters.values() if values is not None]


def _nonzero(values: Tensor) -> int:
    return values.numel() if values.is_meta else int(torch.count_nonzero(values))


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.layout == torch.strided]


def _storage(values: Tensor) -> int:
    return values.untyped_storage()._cdata
