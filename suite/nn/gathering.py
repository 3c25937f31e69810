"""Layers that read some of the channels before them, where other layers read the rest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Gather(nn.Module):
    """The channels `index`, in that order, of `channels`: (N, channels, H, W) -> (N, len(index), H, W). No weights."""

    index: Tensor

    def __init__(self, index: Sequence[int], channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("index", torch.as_tensor(index, dtype=torch.long))

    def forward(self, images: Tensor) -> Tensor:
        return images.index_select(1, self.index)


def gather(network: nn.Module, name: str, index: Sequence[int]) -> str:
    """Let the convolution called `name` read the channels `index` alone; returns its new name, behind a `Gather`.

    The function becomes that of the network in which it sees zeros in place of the other channels, and its other columns are
    gone. ValueError for another kind of layer, grouped convolutions, and no channels.
    """
    layer = network.get_submodule(name)
    if not isinstance(layer, nn.Conv2d) or layer.groups > 1 or not len(index):
        raise ValueError(f"'{name}' is no convolution without groups that could read {len(index)} channels")
    before = Gather(index, layer.in_channels).to(layer.weight.device)
    layer.weight = nn.Parameter(layer.weight.detach().index_select(1, before.index), layer.weight.requires_grad)
    layer.in_channels = len(index)
    network.set_submodule(name, nn.Sequential(before, layer))
    return f"{name}.1"


@torch.no_grad()
def widened(network: nn.Module) -> nn.Module:
    """`network` itself, with zero columns in its layers in place of each `Gather`: for kernels that pass over zeros."""
    for block in list(network.modules()):
        if isinstance(block, nn.Sequential) and len(block) == 2 and isinstance(block[0], Gather):
            before, layer = block[0], block[1]
            while isinstance(layer, nn.Sequential):  # factorised
                layer = layer[0]
            weight: Tensor = layer.weight  # type: ignore[assignment, union-attr]
            wide = weight.new_zeros(len(weight), before.channels, *weight.shape[2:]).index_copy(1, before.index, weight)
            layer.weight, layer.in_channels = nn.Parameter(wide), before.channels  # type: ignore[assignment, union-attr]
            block[0] = nn.Identity()
    return network
