"""The feature maps of a classifier, scale by scale: what dense prediction builds on."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import ResNet as TorchResNet

from suite.nn.cifar import ResNet
from suite.nn.narrow import NarrowResNet
from suite.nn.parts import stages


class Pyramid(nn.Module):
    """`network` without its classifier: images (N, 3, H, W) -> one map for the stem and for each stage, finest first.

    `widths` are the maps' channels and `strides` their reductions. ValueError for a network whose stages do not follow one
    another (a vision transformer).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(_parts(network))
        self.widths, self.strides = _sizes(self.parts)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        for part in self.parts:
            images = part(images)
            maps.append(images)
        return maps


def _parts(network: nn.Module) -> list[nn.Module]:
    if isinstance(network, ResNet):
        return [nn.Sequential(network.conv1, network.bn1, network.relu), network.layer1, network.layer2, network.layer3]
    if isinstance(network, (TorchResNet, NarrowResNet)):
        stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        return [stem, network.layer1, network.layer2, network.layer3, network.layer4]
    names = stages(network)
    if not all(name.startswith("features.") for name in names):
        raise ValueError(f"the stages of a '{type(network).__name__}' do not follow one another, so it has no pyramid")
    ends = [int(name.partition(".")[2]) + 1 for name in names]
    features = list(network.get_submodule("features").children())
    return [nn.Sequential(*features[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _sizes(parts: nn.ModuleList) -> tuple[list[int], list[int]]:
    """Channels and strides of each part's output, by running it on zeros."""
    import torch

    from suite.modes import evaluating

    side = 64
    with evaluating(parts), torch.no_grad():
        images = torch.zeros(1, 3, side, side)
        maps = []
        for part in parts:
            images = part(images)
            maps.append(images)
    return [item.shape[1] for item in maps], [side // item.shape[2] for item in maps]
