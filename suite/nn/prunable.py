"""Which layers weight pruning touches, and which of them may have their filters rearranged."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from suite.nn.streams import Stream, streams


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
    heads. Classifiers of convolutional networks stay dense.

    `example` is an input (N, C, H, W), of which only the shape matters.
    """
    found = streams(network, example)
    written = {name: stream for stream in found for name in stream.writers}
    read = {port.name: stream for stream in found for port in stream.readers}
    gates = {name for stream in found for name in stream.gates}
    attention = any(isinstance(module, nn.MultiheadAttention) for module in network.modules())

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
        elif attention and isinstance(module, nn.Linear) and name in written and not head(name):
            items.append(Prunable(name, rearrange(name), written[name]))
    return items
