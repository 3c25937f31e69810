"""A residual network small enough to be the backbone of a detector that trains in minutes on two cores."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from suite.nn.cifar import initialise

WIDTHS = (32, 64, 128, 256)
SLIM = (16, 32, 64, 128)


class NarrowResNet(nn.Module):
    """Images (N, 3, H, W) of any size from 16 pixels -> logits (N, classes).

    He et al. (CVPR 2016) with one basic block in each of four stages of half the width (`SLIM`: a quarter), and a 3x3 stem; the
    modules have torchvision's names, and the stages end at strides 4, 8, 16 and 32.
    """

    def __init__(self, classes: int, widths: tuple[int, int, int, int] = WIDTHS) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            _block(before, width) for before, width in zip((widths[0], *widths), widths, strict=False)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(widths[-1], classes)
        self.stage_names = ("layer1", "layer2", "layer3", "layer4")
        self.block_names = tuple(f"{stage}.0" for stage in self.stage_names)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        return self.fc(self.flatten(self.avgpool(features)))


def _block(before: int, width: int) -> nn.Sequential:
    """One block; it halves the resolution where the width changes."""
    if before == width:
        return nn.Sequential(BasicBlock(width, width))
    shortcut = nn.Sequential(nn.Conv2d(before, width, 1, 2, bias=False), nn.BatchNorm2d(width))
    return nn.Sequential(BasicBlock(before, width, 2, shortcut))
