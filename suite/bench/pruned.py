"""Networks whose only purpose is to be timed: random weights, 1xN zeros, activations of ordinary size."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from suite import networks
from suite.nn import ARCHS, build, prunable
from suite.nn.selection import block_mask

if TYPE_CHECKING:
    from collections.abc import Sequence


def usual_size(arch: str) -> int:
    """The side in pixels of the images that a network is profiled on unless another is named: 32 of CIFAR networks, else 224, and
    of networks that are not the suite's own what they say themselves."""
    if arch not in ARCHS:
        return networks.pixels(arch)
    return 32 if arch.startswith(("resnet2", "resnet3", "resnet56", "resnet110", "resnet8", "cifar")) else 224


def random_network(arch: str, classes: int | None = None, size: int | None = None) -> tuple[nn.Module, int]:
    """A network by a name of `suite.nn.ARCHS` or `suite.networks` with weights of seed 0, and the side of its images in pixels.

    Unless said otherwise it has ten classes, or as many as it decides itself. UserError as `suite.nn.build`.
    """
    size = size or usual_size(arch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if arch in ARCHS or classes or networks.takes_classes(arch):
            return build(arch, classes or 10, size), size
        return networks.build(arch, None, size), size


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
