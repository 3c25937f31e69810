"""Networks whose only purpose is to be timed: random weights, 1xN zeros, activations of ordinary size."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from suite.nn import prunable
from suite.nn.selection import block_mask

if TYPE_CHECKING:
    from collections.abc import Sequence


def pruned(network: nn.Module, example: Tensor, n: int, share: float) -> nn.Module:
    """A copy of `network`, in evaluation mode, without `share` of the 1xN blocks of every layer that pruning touches.

    Its batch normalisation is settled on noise, so that activations neither fade nor grow with depth: denormal numbers
    would be timed otherwise.
    """
    network = copy.deepcopy(network)
    for layer in prunable(network, example) if share else ():
        weight = getattr(network.get_submodule(layer.name), layer.parameter).data
        weight.mul_(block_mask(weight, n, share))
    settle(network, example.shape)
    return network.eval()


def settle(network: nn.Module, shape: Sequence[int]) -> None:
    """Set the statistics of every batch normalisation to those of four images of noise, of `shape` but for their number.

    One that begins by silencing its branch, with weights of zero, passes it on: folded, its layer would have no weights to time.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # the average of all that it sees
        if module.affine and not module.weight.any():
            nn.init.ones_(module.weight)
    noise = torch.randn(4, *shape[1:], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.train()(noise)
    for module, momentum in zip(norms, momenta, strict=True):
        module.momentum = momentum
