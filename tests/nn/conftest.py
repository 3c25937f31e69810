"""Networks that betray a mistake: random normalisation statistics, in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pytest
import torch
from torch import Tensor, nn

from suite.nn import build


@pytest.fixture(scope="session")
def network_of() -> Callable[[str], nn.Module]:
    """The network of a name, the same one for all tests: copy it before changing it. "branches" is one of ours."""
    return _network


@pytest.fixture(scope="session")
def images_of() -> Callable[[str], Tensor]:
    """Two images for the network of a name."""
    return _images


class Branches(nn.Module):
    """Concatenation, flattening with several positions, PReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 6, 3)
        self.norm, self.slope = nn.BatchNorm2d(10), nn.PReLU(10)
        self.head = nn.Linear(10 * 9, 5)
        self.last = nn.Linear(5, 2)

    def forward(self, images: Tensor) -> Tensor:
        both = self.slope(self.norm(torch.cat([self.left(images), self.right(images)], 1)))
        return self.last(self.head(both.flatten(1)).relu())


def randomise(network: nn.Module) -> nn.Module:
    """Random statistics and affine parts, and float64, so that only a mistake can change the output."""
    for module in network.modules():
        for name, values in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if values.dtype.is_floating_point and (values.ndim == 1 or not values.any()):
                low = 0.5 if name in ("weight", "running_var") else -0.5
                nn.init.uniform_(values, low, low + 1)
    return network.double().eval()


@lru_cache(maxsize=6)  # all would take gigabytes
def _network(arch: str) -> nn.Module:
    torch.manual_seed(0)
    return randomise(Branches() if arch == "branches" else build(arch, 10, 32))


def _images(arch: str) -> Tensor:
    side = 5 if arch == "branches" else 32
    return torch.randn(2, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
