"""Looking at a network as it runs: with its modules tapped, and operation by operation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves

from suite.modes import evaluating


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


class Walk(fx.Interpreter):
    """Runs a traced network on shapes alone; subclasses override `visit`, called after every operation.

    Modules of ``torch.nn`` are single operations, all others are looked into. Nothing is computed and no buffer is
    changed. A network whose Python code depends on its data cannot be traced (``torch.fx.proxy.TraceError``).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network, garbage_collect_values=False, graph=fx.Tracer().trace(network))

    def walk(self, example: Tensor) -> None:
        """Visit every operation once, in order, for inputs of the shape of `example`, usually (N, C, H, W)."""
        like = next(self.module.parameters(), example)  # its device, and its precision unless the inputs are integers
        dtype = like.dtype if example.is_floating_point() else example.dtype
        with evaluating(self.module), torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
            self.run(torch.empty(example.shape, dtype=dtype, device=like.device))

    def kept(self) -> set[fx.Node]:
        """The operations whose results the network keeps as attributes of its modules."""
        leaves = tree_leaves([vars(module) for module in self.module.modules()])
        return {leaf.node for leaf in leaves if isinstance(leaf, fx.Proxy)}  # the tracer's stand-ins

    def used_elsewhere(self) -> set[str]:
        """The modules of which the network's own code reads weights, or that share weights with other modules."""
        names = {str(node.target).rpartition(".")[0] for node in self.graph.nodes if node.op == "get_attr"}
        owners: dict[Tensor, str] = {}
        for name, module in self.module.named_modules():
            for values in module.parameters(recurse=False):
                if (owner := owners.setdefault(values, name)) != name:
                    names |= {owner, name}
        return names

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(self.module.get_submodule(target), nn.modules.batchnorm._BatchNorm) and args:
            return torch.empty_like(args[0])  # four fifths of the time of a walk otherwise
        return super().call_module(target, args, kwargs)

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self.visit(n, result)
        return result

    def visit(self, node: fx.Node, result: Any) -> None:
        """`result` is what `node` put out: a tensor without data, or anything else. Called by `walk`."""
        raise NotImplementedError
