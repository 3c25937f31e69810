"""Looking at a network as it runs: with its modules tapped, and operation by operation."""

from __future__ import annotations

import operator
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map_only

from suite.errors import UserError
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


class _ShapedProxy(_Proxy):
    """With an `example` of the value: what Python asks of its shape is answered, and a tuple can be gone through.

    A class of its own, as fx looks at who calls ``__iter__`` to tell how many values are unpacked.
    """

    example: Any = None

    def __getattr__(self, key: str) -> Any:
        return getattr(self.example, key) if key in _ASKED and isinstance(self.example, Tensor) else super().__getattr__(key)

    def __len__(self) -> int:
        return len(self.example)

    def __iter__(self) -> Iterator[Any]:
        if not isinstance(self.example, (tuple, list)):
            raise fx.proxy.TraceError("it goes through the parts of a tensor")
        return iter([self[place] for place in range(len(self))])  # type: ignore[index]


_ASKED = ("shape", "ndim", "dtype", "device", "layout", "is_cuda", "requires_grad")
_ANSWERS = (bool, int, float, torch.Size, torch.dtype, torch.device)


class Tracer(fx.Tracer):
    """Traces a network and notes what of it other doors lead to: which weights and statistics its code reads past their modules,
    and which operations are seen by hooks.

    With `inputs`, positional arguments of its forward, every shape is known, so that code may depend on shapes; the graph holds for
    these alone. Nothing is computed.
    """

    def __init__(self, inputs: tuple[Any, ...] | None = None) -> None:
        super().__init__()
        self.inputs = None if inputs is None else list(inputs)
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.examples: dict[fx.Node, Any] = {}
        self.computing = False  # an example, for which modules are what they are
        self.tapped: set[fx.Node] = set()  # what goes in or comes out of modules that are listened to
        self._read: dict[int, Tensor] = {}

    def trace(self, root: Any, *args: Any, **kwargs: Any) -> fx.Graph:
        if "forward" in vars(root):
            raise fx.proxy.TraceError("its forward was replaced by another function")
        self.graph = super().trace(root, *args, **kwargs)
        return self.graph

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self) if self.inputs is None else _ShapedProxy(node, self)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, name: Any = None, type_expr: Any = None,
                     proxy_factory_fn: Any = None) -> Any:
        proxy: Any = super().create_proxy(kind, target, args, kwargs, name, type_expr, proxy_factory_fn)
        if self.inputs is None:
            return proxy
        self.computing = True
        try:
            proxy.example = self._known(proxy.node)
        finally:
            self.computing = False
        return proxy.example if isinstance(proxy.example, _ANSWERS) or self._is_default(proxy.node) else proxy

    def _is_default(self, node: fx.Node) -> bool:
        return node.op == "placeholder" and not isinstance(self.examples[node], (Tensor, tuple, list, dict))

    def _known(self, node: fx.Node) -> Any:
        """What `node` would put out, without data."""
        if node not in self.examples:  # fx makes nodes of weights on its own
            self.examples[node] = self._example(node)
        return self.examples[node]

    def _example(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self._known)
        if node.op == "placeholder":
            if str(node.target).startswith("*"):
                raise fx.proxy.TraceError("it takes any number of arguments")
            given = self.inputs.pop(0) if self.inputs else args[0] if args else None  # type: ignore[union-attr]
            return tree_map_only(Tensor, self.fake.from_tensor, given)
        if node.op in ("get_attr", "output"):
            return operator.attrgetter(str(node.target))(self.root) if node.op == "get_attr" else None
        with self.fake, torch.no_grad():
            if node.op == "call_module":
                return self.root.get_submodule(str(node.target)).forward(*args, **kwargs)
            if node.op == "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
            return node.target(*args, **kwargs)  # type: ignore[operator]

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self.computing:
            return attr_val
        if isinstance(attr_val, Tensor):
            self._read[id(attr_val)] = attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        if self.computing:
            return forward(*args, **kwargs)
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


def _line(error: Exception) -> str:
    """Where in the network's own code tracing ended, and why."""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__)))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    where = f"line {frames[-1].lineno} of '{Path(frames[-1].filename).name}', `{frames[-1].line}`, " if len(frames) else "it "
    return f"{where}raised {_short(error)}"


def _short(error: Exception) -> str:
    """An error's type and the first sentence of what it says."""
    sentence = str(error).strip().split("\n")[0].split(". ")[0]
    return f"{type(error).__name__} ({sentence[:200]})"


class _Layers(Tracer):
    """Sees layers of timm that are one of torch with something around it as that one."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return super().is_leaf_module(module, name) or (type(module).__module__.startswith("timm.") and (
            isinstance(module, nn.modules.batchnorm._BatchNorm) or type(module).__name__ == "Conv2dSame"))


def _traced(network: nn.Module, example: Tensor) -> tuple[Tracer, fx.Graph]:
    """A graph of a network that holds for all shapes, or, where its code depends on them, for inputs like `example`."""
    try:
        tracer: Tracer = _Layers()
        return tracer, tracer.trace(network)
    except Exception:
        with evaluating(network):
            tracer = _Layers((_like(network, example),))
            return tracer, tracer.trace(network)


def _like(network: nn.Module, example: Tensor) -> Tensor:
    """An input of the shape of `example`, on the network's device and in its precision unless the example are integers."""
    like = next(network.parameters(), example)
    return torch.empty(example.shape, dtype=like.dtype if example.is_floating_point() else example.dtype, device=like.device)


class Walk(fx.Interpreter):
    """Runs a traced network on shapes alone, for inputs of the shape of `example`, usually (N, C, H, W); subclasses override
    `visit`, called after every operation.

    Modules of ``torch.nn`` are single operations, all others are looked into. Nothing is computed and no buffer is
    changed. UserError for a network that cannot be traced, as its Python code depends on its data, with the line of that code.
    """

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        try:
            self.tracer, graph = _traced(network, example)
        except Exception as error:  # whatever the network's code does with what it is given
            raise UserError(f"This network cannot be traced, and so not be taken apart: {_line(error)}.") from error
        super().__init__(network, garbage_collect_values=False, graph=graph)
        self.example = example
        self.at: fx.Node | None = None  # the operation that runs

    def walk(self) -> None:
        """Visit every operation once, in order."""
        with evaluating(self.module), torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
            try:
                self.run(_like(self.module, self.example))
            except Exception as error:
                at = f"at its operation '{self.at.name}' ({self.at.target})" if self.at else "at once"
                raise UserError(f"This network cannot be followed on shapes alone: {at} it raised {_short(error)}.") from error

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
        self.at = n
        result = super().run_node(n)
        self.visit(n, result)
        return result

    def visit(self, node: fx.Node, result: Any) -> None:
        """`result` is what `node` put out: a tensor without data, or anything else. Called by `walk`."""
        raise NotImplementedError
