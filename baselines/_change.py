"""What the change segmenters share: backbone, merging of scales, heads, loss and training.

From C-3PO (Wang, Gao, Wang, Pattern Recognition 2023) and its code: order B -> T -> S -> H, a backbone (B) that sees both
pictures, a merging of times (T) at each scale, of scales (S), and an ordinary segmentation head (H).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead

from suite.artifacts import ChangeSegmenter
from suite.context import Run
from suite.contract import Method, Needed, option
from suite.errors import UserError
from suite.nn import build
from suite.nn.pyramid import Pyramid
from suite.nn.weights import load_weights, read_weights
from suite.settings import ChangePairs
from suite.train import Batch, Recipe, train

BACKBONES = ("resnet18", "resnet50", "mobilenet_v2", "resnet8", "resnet20", "resnet32", "resnet56", "cifar_vgg16")


class Segmenter(nn.Module):
    """Pairs (N, 6, H, W), the earlier picture first -> logits (N, 2, H, W).

    `temporal` are the merging modules of the backbone's last maps, one for each, called with the two times' maps. Without
    them (`temporal` None) the backbone sees all six channels at once.
    """

    def __init__(self, backbone: Pyramid, temporal: Sequence[nn.Module] | None, scales: int, width: int, head: str) -> None:
        super().__init__()
        self.backbone = backbone
        self.temporal = None if temporal is None else nn.ModuleList(temporal)
        self.scales = scales
        self.spatial = MergeScales(backbone.widths[-scales:], width)
        self.head = DeepLabHead(width, 2) if head == "deeplab" else FCNHead(width, 2)

    def forward(self, pairs: Tensor) -> Tensor:
        if self.temporal is None:
            merged = self.backbone(pairs)[-self.scales :]
        else:
            before = self.backbone(pairs[:, :3])[-self.scales :]
            after = self.backbone(pairs[:, 3:])[-self.scales :]
            merged = [merge(*maps) for merge, *maps in zip(self.temporal, before, after, strict=True)]
        return resized(self.head(self.spatial(merged)), pairs)

    def train(self, mode: bool = True) -> Segmenter:
        """The backbone's batch normalisation keeps its statistics in training, for small batches; its scale and shift learn."""
        super().train(mode)
        for module in self.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


class MergeScales(nn.Module):
    """MSF: maps of `widths` channels, finest first -> one map of `width` channels at the finest scale."""

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(nn.Sequential(nn.Conv2d(item, width, 1), nn.ReLU(inplace=True)) for item in widths)
        self.smooth = nn.ModuleList(nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(inplace=True)) for _ in widths)
        self.merge = nn.Sequential(nn.Conv2d(width * len(widths), width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
                                   nn.ReLU(inplace=True))

    def forward(self, maps: list[Tensor]) -> Tensor:
        reduced = [reduce(item) for reduce, item in zip(self.reduce, maps, strict=True)]
        summed = reduced[-1:]
        for finer in reversed(reduced[:-1]):
            summed.insert(0, finer + functional.interpolate(summed[0], size=finer.shape[2:], mode="nearest"))
        smoothed = [smooth(item) for smooth, item in zip(self.smooth, summed, strict=True)]
        return self.merge(torch.cat([smoothed[0], *(resized(item, smoothed[0]) for item in smoothed[1:])], 1))


def resized(maps: Tensor, like: Tensor) -> Tensor:
    """`maps` at the height and width of `like`."""
    return functional.interpolate(maps, size=like.shape[2:], mode="bilinear", align_corners=False)


@dataclass
class ChangeMethod(Method):
    """Trains a `Segmenter`; a method says how the two times are merged."""

    takes = ("ChangePairs",)
    gives = "ChangeSegmenter"
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"arch": "resnet8", "pretrained": "cifar10", "levels": 2, "width": 16, "head": "fcn", "batch": 8, "rate": 1e-3},
        "short": {"arch": "resnet8", "pretrained": "cifar10", "levels": 2, "width": 48, "head": "fcn", "batch": 8, "rate": 1e-3},
        "long": {"arch": "resnet20", "pretrained": "cifar10", "levels": 3, "width": 128, "head": "fcn", "rate": 1e-3},
    }

    arch: str = option("resnet18", "the backbone", choices=BACKBONES)
    pretrained: str = option("imagenet", "the task on whose embedded data the backbone is trained first, a recorded reference",
                             choices=("imagenet", "cifar10"))
    weights: str = option("", "a state-dict of the backbone as a classifier, instead of the recorded one")
    levels: int = option(4, "how many of the backbone's last maps are used", bounds=(1, 5))
    width: int = option(512, "channels where the scales are merged", bounds=(1, 4096))
    head: str = option("deeplab", "torchvision's segmentation head", choices=("deeplab", "fcn"))
    rate: float = option(1e-4, "peak learning rate of Adam", bounds=(0, 1))
    batch: int = option(16, "pairs per step", bounds=(2, 65536))

    def needs(self) -> Mapping[str, Needed]:
        return {} if self.weights else {"backbone": Needed(self.pretrained, "plain", {"arch": self.arch})}

    @abstractmethod
    def segmenter(self, backbone: nn.Module) -> Segmenter:
        """The network on a pre-trained classifier, whose weights it takes over. Its random numbers are torch's global ones."""

    def fit(self, setting: ChangePairs, run: Run) -> ChangeSegmenter:
        classifier = from_file(self.arch, self.weights) if self.weights else run.reference("backbone").module
        torch.manual_seed(run.seed("weights", self.arch))
        network = self.segmenter(classifier)
        changed = setting.train.changed()
        run.note(changed_share=changed)

        def loss(logits: Tensor, batch: Batch) -> Tensor:
            return weighted_loss(logits, batch.targets, changed)

        recipe = Recipe(rate=self.rate, batch=self.batch, weight_decay=0.0, warmup=0.05, adam=True)
        train(network, setting.train, run, augment=setting.augment, recipe=recipe, loss=loss)
        return ChangeSegmenter(network)

    def pyramid(self, classifier: nn.Module) -> Pyramid:
        """The backbone's maps. UserError where there are fewer than `levels`."""
        made = Pyramid(classifier)
        if self.levels > len(made.widths):
            raise UserError(f"'{self.arch}' has {len(made.widths)} feature maps, not {self.levels}; lower levels.")
        return made


def weighted_loss(logits: Tensor, targets: Tensor, changed: float) -> Tensor:
    """Cross-entropy with weight r on pixels without change and 1 - r on changed ones, r = `changed`, a weighted mean.

    `logits` (B, 2, H, W), `targets` (B, H, W) of 0 and 1; 255 is left out. A batch without a counted pixel gives 0.
    """
    weight = logits.new_tensor([changed, 1 - changed])
    total = functional.cross_entropy(logits, targets, weight, ignore_index=255, reduction="sum")
    parts = (targets != 255) * weight[targets.clamp(max=1)]
    return total / parts.sum().clamp_min(1e-12)


def from_file(arch: str, path: str) -> nn.Module:
    """The classifier `arch` with the user's weights, of as many classes as they have. UserError for a file that does not fit."""
    rows = [len(values) for values in read_weights(path).values() if values.dim() == 2]
    network = build(arch, rows[-1] if rows else 1, 64)
    load_weights(network, path)
    return network
