"""Networks whose only purpose is to be timed: random weights, 1xN zeros, activations of ordinary size."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from suite.nn import prunable

if TYPE_CHECKING:
    from collections.abc import Sequence


def drop_blocks(weight: Tensor, n: int, share: float) -> None:
    """Set to zero, in place, the `share` (0..1, rounded down to whole blocks) of 1xN blocks with the smallest L1 norm.

    A block is `n` consecutive output channels of one input channel, all taps (Lin et al., "1xN Pattern for Pruning
    Convolutional Neural Networks", Sec. 3).
    """
    rows = weight.detach().abs().reshape(len(weight), weight.shape[1], -1).sum(2)
    groups = -(-len(rows) // n)
    norms = nn.functional.pad(rows, (0, 0, 0, groups * n - len(rows))).view(groups, n, -1).sum(1)
    lowest = norms.flatten().argsort(stable=True)[: int(share * norms.numel())]
    keep = torch.ones(norms.numel(), dtype=torch.bool)
    keep[lowest] = False
    mask = keep.view_as(norms).repeat_interleave(n, 0)[: len(weight)]
    weight.data.mul_(mask.view(*mask.shape, *[1] * (weight.dim() - 2)))


def pruned(network: nn.Module, example: Tensor, n: int, share: float) -> nn.Module:
    """A copy of `network`, in evaluation mode, without `share` of the 1xN blocks of every layer that pruning touches.

    Its batch normalisation is settled on noise, so that activations neither fade nor grow with depth: denormal numbers
    would be timed otherwise.
    """
    network = copy.deepcopy(network)
    for layer in prunable(network, example) if share else ():
        drop_blocks(getattr(network.get_submodule(layer.name), layer.parameter), n, share)
    settle(network, example.shape)
    return network.eval()


def settle(network: nn.Module, shape: Sequence[int]) -> None:
    """Set the statistics of every batch normalisation to those of four images of noise, of `shape` but for their number."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # the average of all that it sees
    noise = torch.randn(4, *shape[1:], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.train()(noise)
    for module, momentum in zip(norms, momenta, strict=True):
        module.momentum = momentum
