"""Surgery on networks: permute and cut channels, fold batch normalisation, factorise layers, drop blocks.

`permute`, `keep`, `factorise` and `drop` change the network they are given; `fold` returns a copy. Weights that are
computed at every call (masked while training) must be made plain first: by `suite.modes.plain`, or in place by
``torch.nn.utils.parametrize.remove_parametrizations(module, "weight")`` and ``torch.nn.utils.prune.remove(module, "weight")``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from suite.modes import computes_weights, listened, plain
from suite.nn.parts import has_identity_shortcut
from suite.nn.streams import Port, Stream
from suite.nn.trace import Tracer

# Exact types: what a subclass computes is not known.
_FUSIONS: dict[tuple[type, type], Any] = {
    (nn.Conv2d, nn.BatchNorm2d): fuse_conv_bn_eval,
    (nn.Linear, nn.BatchNorm1d): fuse_linear_bn_eval,
}


def permute(network: nn.Module, stream: Stream, order: Tensor | Sequence[int]) -> None:
    """Reorder the channels of `stream`: new channel r is old channel ``order[r]``. The function stays the same.

    ValueError for an `order` that is no permutation of ``range(stream.channels)`` and for a fixed stream.
    """
    order = torch.as_tensor(order)
    if not torch.equal(order.sort().values.cpu(), torch.arange(stream.channels)):
        raise ValueError(f"the order of {len(order)} channels is no permutation of {stream.channels}")
    keep(network, {stream: order})


def keep(network: nn.Module, kept: Mapping[Stream, Tensor | Sequence[int]]) -> None:
    """Cut every stream of `kept` down to the channels listed for it, in that order, everywhere they occur.

    The function becomes that of the network in which the readers see zeros in place of the other channels. Streams
    found before the cut no longer fit where channels are concatenated, so cut all at once. ValueError, with nothing
    changed, for a fixed stream, for no channels and for parametrised weights.
    """
    indices = {stream: torch.as_tensor(index, dtype=torch.long, device="cpu") for stream, index in kept.items()}
    for stream, index in indices.items():
        if stream.fixed:
            raise ValueError(f"the channels that {', '.join(stream.writers)} write are fixed")
        if not len(index):
            raise ValueError(f"no channel left of what {', '.join(stream.writers)} write")
        for name in {*stream.writers, *(port.name for port in (*stream.readers, *stream.carriers))}:
            if computes_weights(network.get_submodule(name)):
                raise ValueError(f"'{name}' is parametrised or masked; call remove_parametrizations or prune.remove first")
    cuts = []
    for stream, index in indices.items():
        for name in stream.writers:
            _rows(network.get_submodule(name), index)
        cuts += [(port, _entries, stream, index) for port in stream.carriers]
        cuts += [(port, _columns, stream, index) for port in stream.readers]
    # From the back, so that the offsets of parts that come earlier in the same layer stay right.
    for port, select, stream, index in sorted(cuts, key=lambda item: -item[0].offset):
        select(network.get_submodule(port.name), port, stream.channels, index)


def fold(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose batch normalisations are folded into the layers that alone feed them.

    Folded normalisations become ``nn.Identity``; names and classes of all else stay. Where both are called several times, as in
    a backbone that two pictures go through, every call of the one must feed a call of the other. Layers that a hook looks at,
    and those of which a weight is read elsewhere, are left as they are.
    """
    network, tracer = plain(network), Tracer()
    calls: dict[str, list[fx.Node]] = {}
    for node in tracer.trace(network).nodes:
        if node.op == "call_module":
            calls.setdefault(str(node.target), []).append(node)
    spared = tracer.read_elsewhere() | {name for name in calls if listened(network.get_submodule(name))}
    for name, nodes in calls.items():
        users = [user for node in nodes for user in node.users]
        norm, *others = {str(user.target) if user.op == "call_module" else "" for user in users} or {""}
        if others or norm not in calls or len(users) != len(nodes) or set(users) != set(calls[norm]) or {name, norm} & spared:
            continue
        layers = network.get_submodule(name), network.get_submodule(norm)
        if fuse := _FUSIONS.get((type(layers[0]), type(layers[1]))):
            network.set_submodule(name, fuse(*layers))
            network.set_submodule(norm, nn.Identity())
    return network


def factorise(network: nn.Module, name: str, rank: int) -> None:
    """Replace the layer called `name` by two of `rank` channels between them, the best in the least-squares sense.

    A k x k convolution becomes one of `rank` filters of k x k followed by a 1x1 convolution, a linear layer two linear
    layers, by truncated singular value decomposition of the weight as a matrix (rows, the rest). Exact at full rank.
    ValueError for another kind of layer, grouped convolutions, and a rank outside 1..full.
    """
    layer = network.get_submodule(name)
    if not isinstance(layer, (nn.Conv2d, nn.Linear)) or getattr(layer, "groups", 1) > 1:
        raise ValueError(f"'{name}' is neither a linear layer nor a convolution without groups")
    matrix = layer.weight.detach().flatten(1)
    if not 1 <= rank <= min(matrix.shape):
        raise ValueError(f"rank {rank} of '{name}' is outside 1..{min(matrix.shape)}")
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    root = values[:rank].sqrt()  # shared evenly, so that both layers train at the same scale
    first, second = root[:, None] * right[:rank], left[:, :rank] * root
    like: dict[str, Any] = {"device": matrix.device, "dtype": matrix.dtype}
    pair: tuple[nn.Module, nn.Module]
    if isinstance(layer, nn.Linear):
        pair = (
            nn.Linear(layer.in_features, rank, bias=False, **like),
            nn.Linear(rank, layer.out_features, bias=layer.bias is not None, **like),
        )
    else:
        window: dict[str, Any] = {
            key: getattr(layer, key) for key in ("kernel_size", "stride", "padding", "dilation", "padding_mode")
        }
        pair = (
            nn.Conv2d(layer.in_channels, rank, bias=False, **window, **like),
            nn.Conv2d(rank, layer.out_channels, 1, bias=layer.bias is not None, **like),
        )
    with torch.no_grad():
        for new, weight in zip(pair, (first, second), strict=True):
            new.weight.copy_(weight.reshape(new.weight.shape))  # type: ignore[union-attr, operator]
        if layer.bias is not None:
            pair[1].bias.copy_(layer.bias)  # type: ignore[union-attr, operator]
    network.set_submodule(name, nn.Sequential(*pair).train(layer.training))


def drop(network: nn.Module, block: str) -> None:
    """Replace the residual block called `block` by its shortcut, which must be the identity.

    ValueError for a block that changes the shape and for a module that is no residual block.
    """
    if not has_identity_shortcut(network.get_submodule(block)):
        raise ValueError(f"block '{block}' changes the shape and cannot be dropped")
    network.set_submodule(block, nn.Identity())


def _select(module: nn.Module, name: str, axis: int, index: Tensor) -> None:
    """Index one parameter or buffer in place; absent ones (no bias, no affine, no statistics) are passed over."""
    values = getattr(module, name, None)
    if values is not None:
        values.data = values.data.index_select(axis, index.to(values.device))
        values.grad = None


def _rows(module: nn.Module, index: Tensor) -> None:
    for name in ("weight", "bias"):
        _select(module, name, 0, index)
    setattr(module, "out_features" if isinstance(module, nn.Linear) else "out_channels", len(index))


def _entries(module: nn.Module, port: Port, channels: int, index: Tensor) -> None:
    entries = _expand(module.weight if module.weight is not None else module.running_mean, 0, port, channels, index)
    for name in ("weight", "bias", "running_mean", "running_var"):
        _select(module, name, 0, entries)
    for size in ("in_channels", "out_channels", "groups", "num_parameters", "num_features"):
        if hasattr(module, size):
            setattr(module, size, len(entries))


def _columns(module: nn.Module, port: Port, channels: int, index: Tensor) -> None:
    columns = _expand(module.weight, 1, port, channels, index)
    _select(module, "weight", 1, columns)
    setattr(module, "in_features" if isinstance(module, nn.Linear) else "in_channels", len(columns))


def _expand(values: Any, axis: int, port: Port, channels: int, index: Tensor) -> Tensor:
    """The entries along `axis` that remain: all outside of the stream's part, those of `index` within it."""
    after = torch.arange(port.offset + channels * port.positions, values.shape[axis])
    return torch.cat([torch.arange(port.offset), port.columns(index), after])
