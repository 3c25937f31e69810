"""Which layers weight pruning touches, and which of them may have their filters rearranged."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, fx, nn

from suite.errors import UserError
from suite.nn.streams import Stream, streams
from suite.nn.trace import Walk


class Prunable(NamedTuple):
    """The weight ``network.get_submodule(name).<parameter>``, (rows, columns, ...).

    `rearrange`: its rows may be reordered by `suite.nn.permute` on `stream`, the channels that it writes.
    """

    name: str
    rearrange: bool
    stream: Stream | None  # None where the output cannot be followed: inside attention
    parameter: str = "weight"


def prunable(network: nn.Module, example: Tensor) -> list[Prunable]:
    """The layers to prune: the table of the 1xN paper's code as a rule for any network.

    Convolutions: all but the first to run (the stem) and depthwise ones. Rearranged unless what they write is added to
    something (residual streams: the third convolution of a bottleneck and, deviating from the official code, its
    downsampling, which could not be deployed as contiguous blocks), unless they belong to a squeeze-and-excitation, and
    unless they are the linear projection that ends an inverted residual block.

    Linear layers: only in networks with attention, and there all but those that write the network's output. That is
    both layers of each MLP (the first rearranged, the second writes the residual stream) and, per attention, the bare
    parameter ``in_proj_weight`` and ``out_proj.weight``, neither rearranged: rows of queries, keys and values belong to
    heads. Classifiers of convolutional networks stay dense. In networks with another attention than torch's module, or none, they
    are the linear layers that work on tokens, (N, ..., channels).

    `example` is an input (N, C, H, W), of which only the shape matters. UserError for a network that cannot be traced, and for one
    without any such layer.
    """
    found = streams(network, example)
    written = {name: stream for stream in found for name in stream.writers}
    read = {port.name: stream for stream in found for port in stream.readers}
    gates = {name for stream in found for name in stream.gates}
    attention = any(isinstance(module, nn.MultiheadAttention) for module in network.modules())

    rows = set[str]() if attention else _on_tokens(network, example)

    def rearrange(name: str) -> bool:
        stream = written[name]
        squeeze = bool(stream.readers) and all(port.name in gates for port in stream.readers)
        before = read.get(name)
        filtered = before is not None and any(
            isinstance(network.get_submodule(port.name), nn.Conv2d) for port in before.carriers
        )
        projection = stream.linear and filtered
        return not (stream.fixed or stream.residual or name in gates or squeeze or projection)

    def head(name: str) -> bool:
        return not written[name].readers and not written[name].residual

    stem = next((name for name in written if isinstance(network.get_submodule(name), nn.Conv2d)), "")
    items: list[Prunable] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and name in written and name != stem:
            items.append(Prunable(name, rearrange(name), written[name]))
        elif isinstance(module, nn.MultiheadAttention):
            items += [Prunable(name, False, None, "in_proj_weight"), Prunable(f"{name}.out_proj", False, None)]
        elif isinstance(module, nn.Linear) and name in written and (name in rows or (attention and not head(name))):
            items.append(Prunable(name, rearrange(name), written[name]))
    if not items:
        raise UserError("This network has no layer that pruning touches: convolutions but the first and depthwise ones, and linear "
                        "layers over tokens, all as modules of torch.nn.")
    return items


class _Tokens(Walk):
    """Notes the linear layers that put out more than two axes."""

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        super().__init__(network, example)
        self.names = set[str]()

    def visit(self, node: fx.Node, result: Any) -> None:
        if node.op == "call_module" and type(self.module.get_submodule(str(node.target))) is nn.Linear and result.ndim > 2:
            self.names.add(str(node.target))


def _on_tokens(network: nn.Module, example: Tensor) -> set[str]:
    if not any(isinstance(module, nn.Linear) for module in network.modules()):
        return set()
    walk = _Tokens(network, example)
    walk.walk()
    return walk.names
