"""A network of one's own; `suite profile docs/examples/my_network.py:net --sparsity 0.75` says what pruning would gain.

What the suite calls the function with, and what it must return: `suite/networks/__init__.py`.
"""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """A residual block with a squeeze-and-excitation: (N, width_in, H, W) -> (N, width, H / stride, W / stride)."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width_in, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, 1, "same", bias=False), nn.BatchNorm2d(width),
        )
        self.gate = nn.Sequential(
            nn.Conv2d(width, width // 4, 1), nn.ReLU(inplace=True), nn.Conv2d(width // 4, width, 1), nn.Hardsigmoid(),
        )
        self.shortcut = nn.Identity() if (width_in, stride) == (width, 1) else nn.Conv2d(width_in, width, 1, stride, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        features = self.body(images)
        features = features * self.gate(features.mean((2, 3), keepdim=True))
        return torch.relu(features + self.shortcut(images))


def net(classes: int = 10, size: int = 32) -> nn.Module:
    """Images (N, 3, size, size) -> logits (N, classes); this one takes any size."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
        Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes),
    )
