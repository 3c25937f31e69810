"""MobileNet-V1 (Howard et al. 2017, Table 1), which torchvision does not have."""

from __future__ import annotations

from torch import Tensor, nn

from suite.nn.cifar import initialise

# Output width and stride of the 13 depthwise-separable blocks.
_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


class Separable(nn.Sequential):
    """Depthwise 3x3, then pointwise 1x1, each with batch normalisation and ReLU."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__(
            nn.Conv2d(width_in, width_in, 3, stride, 1, groups=width_in, bias=False),
            nn.BatchNorm2d(width_in),
            nn.ReLU(inplace=True),
            nn.Conv2d(width_in, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )


class MobileNetV1(nn.Module):
    """MobileNet-V1 at width 1: images (N, 3, H, W) of any size from 32 pixels -> logits (N, classes).

    568.74M MACs (stem 10.84, depthwise 17.39, pointwise 539.49, classifier 1.02) and 4.23M parameters at 224 pixels
    with 1000 classes.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True))
        widths = [32, *(width for width, _ in _BLOCKS)]
        self.features = nn.Sequential(
            *(Separable(before, width, stride) for before, (width, stride) in zip(widths, _BLOCKS, strict=False))
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(widths[-1], classes)
        self.block_names = tuple(f"features.{index}" for index in range(len(_BLOCKS)))
        # A stage ends before each block of stride two, and at the end.
        ends = [index - 1 for index, (_, stride) in enumerate(_BLOCKS) if stride == 2]
        self.stage_names = tuple(f"features.{index}" for index in [*ends, len(_BLOCKS) - 1])
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.flatten(self.avgpool(self.features(self.stem(images)))))
