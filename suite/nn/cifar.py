"""Networks for 32-pixel images: residual networks with option-A shortcuts, and VGG-16 with batch normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class PadShortcut(nn.Module):
    """Option A of the residual paper (He et al. 2016, Sec. 3.3): every `stride`-th pixel, then `extra` zero channels.

    No weights. (N, C, H, W) -> (N, C + extra, ceil(H / stride), ceil(W / stride)); the old channels come first.
    """

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra = extra
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        return F.pad(images[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut: (N, width_in, H, W) -> (N, width, H / stride, W / stride)."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        same = stride == 1 and width_in == width
        self.shortcut = nn.Identity() if same else PadShortcut(width - width_in, stride)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.relu(self.bn1(self.conv1(images)))
        return self.relu(self.bn2(self.conv2(hidden)) + self.shortcut(images))


class ResNet(nn.Module):
    """The CIFAR residual network of depth 6n + 2 (He et al. 2016, Sec. 4.2): 3 stages of n blocks, 16, 32, 64 wide.

    Convolutions have no bias. Depths 20, 32, 56, 110: 40.55M, 68.86M, 125.49M, 252.89M MACs and 0.270M, 0.464M,
    0.853M, 1.728M parameters at 32 pixels with ten classes.
    """

    stage_names = ("layer1", "layer2", "layer3")

    def __init__(self, depth: int, classes: int) -> None:
        super().__init__()
        count, rest = divmod(depth - 2, 6)
        if rest or count < 1:
            raise ValueError(f"a CIFAR ResNet has depth 6n + 2, not {depth}")
        self.block_names = tuple(f"{stage}.{index}" for stage in self.stage_names for index in range(count))
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(16, 16, count, 1)
        self.layer2 = _stage(16, 32, count, 2)
        self.layer3 = _stage(32, 64, count, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        features = self.relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        return self.fc(self.flatten(self.avgpool(features)))


class VGG(nn.Module):
    """VGG-16 for CIFAR: 13 convolutions with batch normalisation, global average pooling, one 512-to-`classes` layer.

    The convolutions **have biases** (redundant before batch normalisation, but the published 14.73M parameters count
    them; without it would be 14.72M). 313.20M MACs at 32 pixels with ten classes. Max pooling after convolutions
    2, 4, 7 and 10; the average pool takes what is left (2x2 at 32 pixels).
    """

    widths: Sequence[int] = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)  # 0: max pool

    def __init__(self, classes: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        width_in = 3
        for width in self.widths:
            parts.append(_unit(width_in, width) if width else nn.MaxPool2d(2))
            width_in = width or width_in
        self.features = nn.Sequential(*parts)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(width_in, classes)
        self.block_names = tuple(f"features.{index}" for index, width in enumerate(self.widths) if width)
        pools = [index for index, width in enumerate(self.widths) if not width]
        self.stage_names = tuple(f"features.{index - 1}" for index in [*pools, len(self.widths)])
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.flatten(self.avgpool(self.features(images))))


def _stage(width_in: int, width: int, count: int, stride: int) -> nn.Sequential:
    return nn.Sequential(Block(width_in, width, stride), *(Block(width, width, 1) for _ in range(count - 1)))


def _unit(width_in: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width_in, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def initialise(network: nn.Module) -> None:
    """He-normal convolutions (fan out), zero biases; layers of other kinds keep torch's initial values."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
