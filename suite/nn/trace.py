"""Looking at a network as it runs: with its modules tapped, and operation by operation."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves

from suite.modes import evaluating, listened


@contextmanager
def tap(network: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Collect what the modules called `names` put out: the dict maps each name to its latest output.

    The outputs are the network's own, with their gradients. AttributeError for a name that does not exist.
    """
    outputs: dict[str, Any] = {}

    def listen(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            outputs[name] = output

        return network.get_submodule(name).register_forward_hook(hook)

    handles = [listen(name) for name in names]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


class _Proxy(fx.Proxy):
    """Stands for a value while a network is traced. fx itself takes ``a += b`` for ``a = a + b``, and refuses ``a[0] = b``."""

    def __setitem__(self, key: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, key, value), {})


def _in_place(function: Any) -> Any:
    return lambda self, other: self.tracer.create_proxy("call_function", function, (self, other), {})


for _name in ("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "iand", "ior", "ixor"):
    setattr(_Proxy, f"__{_name}__", _in_place(getattr(operator, _name)))


class Tracer(fx.Tracer):
    """Traces a network and notes what of it other doors lead to: which weights and statistics its code reads past their modules,
    and which operations are seen by hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.tapped: set[fx.Node] = set()  # what goes in or comes out of modules that are listened to
        self._read: dict[int, Tensor] = {}

    def trace(self, root: Any, *args: Any, **kwargs: Any) -> fx.Graph:
        if "forward" in vars(root):
            raise fx.proxy.TraceError("its forward was replaced by another function")
        self.graph = super().trace(root, *args, **kwargs)
        return self.graph

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if isinstance(attr_val, Tensor):
            self._read[id(attr_val)] = attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        output = super().call_module(m, forward, args, kwargs)
        if listened(m):
            behind = output if m._forward_hooks or "forward" in vars(m) else None
            self.tapped |= {leaf.node for leaf in tree_leaves((args, kwargs, behind)) if isinstance(leaf, fx.Proxy)}
        return output

    def read_elsewhere(self) -> set[str]:
        """The modules of which the network's own code reads weights or statistics."""
        names = {str(node.target).rpartition(".")[0] for node in self.graph.nodes if node.op == "get_attr"}
        return names | {name for name, module in self.root.named_modules() if any(id(item) in self._read for item in _own(module))}


def _own(module: nn.Module) -> list[Tensor]:
    return [item for item in (*module._parameters.values(), *module._buffers.values()) if item is not None]


class Walk(fx.Interpreter):
    """Runs a traced network on shapes alone; subclasses override `visit`, called after every operation.

    Modules of ``torch.nn`` are single operations, all others are looked into. Nothing is computed and no buffer is
    changed. A network whose Python code depends on its data cannot be traced (``torch.fx.proxy.TraceError``).
    """

    def __init__(self, network: nn.Module) -> None:
        self.tracer = Tracer()
        super().__init__(network, garbage_collect_values=False, graph=self.tracer.trace(network))

    def walk(self, example: Tensor) -> None:
        """Visit every operation once, in order, for inputs of the shape of `example`, usually (N, C, H, W)."""
        like = next(self.module.parameters(), example)  # its device, and its precision unless the inputs are integers
        dtype = like.dtype if example.is_floating_point() else example.dtype
        with evaluating(self.module), torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
            self.run(torch.empty(example.shape, dtype=dtype, device=like.device))

    def seen(self) -> set[fx.Node]:
        """The operations whose results something else than the next operation gets: attributes of modules, hooks."""
        leaves = tree_leaves([vars(module) for module in self.module.modules()])
        kept = {leaf.node for leaf in leaves if isinstance(leaf, fx.Proxy)}  # the tracer's stand-ins
        return kept | self.tracer.tapped

    def used_elsewhere(self) -> set[str]:
        """The modules of which the network's own code reads weights, or that share weights with other modules."""
        names, owners = self.tracer.read_elsewhere(), dict[Tensor, str]()
        for name, module in self.module.named_modules():
            for values in module.parameters(recurse=False):
                if (owner := owners.setdefault(values, name)) != name:
                    names |= {owner, name}
        return names

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(self.module.get_submodule(target), nn.modules.batchnorm._BatchNorm) and args:
            return torch.empty_like(args[0])  # four fifths of the time of a walk otherwise
        return self.module.get_submodule(target).forward(*args, **kwargs)  # hooks learn nothing of the walk

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self.visit(n, result)
        return result

    def visit(self, node: fx.Node, result: Any) -> None:
        """`result` is what `node` put out: a tensor without data, or anything else. Called by `walk`."""
        raise NotImplementedError
