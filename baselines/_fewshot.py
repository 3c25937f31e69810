"""PFENet: a frozen backbone, a prior mask that needs no training, and feature enrichment; what `gqnet` is built on.

Tian et al., "Prior Guided Feature Enrichment Network for Few-Shot Segmentation", TPAMI 2020, arXiv 2008.01449, and the repository
dvlab-research/PFENet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from suite.context import Run
from suite.settings import EpisodeBatch, FewShotSegmentation
from suite.train import Recipe, autocast, optimise

STAGES = ("layer1", "layer2", "layer3", "layer4")


class Dilated(nn.Module):
    """A residual network with stages ``layer1`` to ``layer4`` whose maps are never smaller than by `stride`: dilated instead.

    Images (N, 3, H, W) -> the maps of the last stage. The classifier's layers are taken over and changed; `widths` are the channels
    of each stage's maps.
    """

    def __init__(self, classifier: nn.Module, stride: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(classifier.conv1, classifier.bn1, classifier.relu, classifier.maxpool)
        for name, reduction in zip(STAGES, (4, 8, 16, 32), strict=True):
            stage = classifier.get_submodule(name)
            if reduction > stride:
                dilate(stage, reduction // stride)
            self.add_module(name, stage)
        self.widths = [[item for item in self.get_submodule(name).modules() if isinstance(item, nn.BatchNorm2d)][-1].num_features
                       for name in STAGES]

    def early(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The maps of the second and the third stage."""
        second = self.layer2(self.layer1(self.stem(images)))
        return second, self.layer3(second)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer4(self.early(images)[1])


def dilate(stage: nn.Module, factor: int) -> None:
    """Let every convolution of `stage` keep the size of its input, 3x3 ones looking `factor` pixels far."""
    for conv in stage.modules():
        if isinstance(conv, nn.Conv2d):
            conv.stride = (1, 1)
            if conv.kernel_size == (3, 3):
                conv.dilation = conv.padding = (factor, factor)


class Frozen(Dilated):
    """A `Dilated` network that is not trained; its normalisation stays in evaluation mode."""

    def __init__(self, classifier: nn.Module, stride: int) -> None:
        super().__init__(classifier, stride)
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> Frozen:
        return super().train(False)


class Enrich(nn.Module):
    """FEM: a query's maps, a prototype and `guides` channels of guidance at several scales, each looking at the finer one before.

    `bins` are the sides of the maps at each scale; (N, `width`, h, w) -> logits (N, 2, h, w), and those of each scale.
    """

    def __init__(self, width: int, guides: int, bins: list[int]) -> None:
        super().__init__()
        def conv(inputs: int, kernel: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, width, kernel, padding=kernel // 2, bias=False), nn.ReLU()]

        def head() -> nn.Module:
            return nn.Sequential(*conv(width, 3), nn.Dropout2d(0.1), nn.Conv2d(width, 2, 1))

        self.bins = bins
        self.merge = nn.ModuleList(nn.Sequential(*conv(2 * width + guides, 1)) for _ in bins)
        self.alpha = nn.ModuleList(nn.Sequential(*conv(2 * width, 1)) for _ in bins[1:])
        self.beta = nn.ModuleList(nn.Sequential(*conv(width, 3), *conv(width, 3)) for _ in bins)
        self.heads = nn.ModuleList(head() for _ in bins)
        self.gather = nn.Sequential(*conv(len(bins) * width, 1))
        self.refine = nn.Sequential(*conv(width, 3), *conv(width, 3))
        self.head = head()

    def scales(self, query: Tensor, prototype: Tensor, guidance: Tensor) -> list[Tensor]:
        """The enriched maps of each scale at its own size."""
        found: list[Tensor] = []
        for number, side in enumerate(self.bins):
            small = functional.adaptive_avg_pool2d(query, side) if number else query
            spread = prototype.expand(-1, -1, side, side)
            merged = self.merge[number](torch.cat([small, spread, resized(guidance, side)], 1))
            if number:
                before = resized(resized(found[-1], self.bins[0]), side)
                merged = self.alpha[number - 1](torch.cat([merged, before], 1)) + merged
            found.append(self.beta[number](merged) + merged)
        return found

    def decode(self, scales: list[Tensor]) -> Tensor:
        gathered = self.gather(torch.cat([resized(item, self.bins[0]) for item in scales], 1))
        return self.head(self.refine(gathered) + gathered)


class EpisodeNetwork(nn.Module):
    """PFENet for episodes of `shots` pictures of `size` pixels: queries, support pictures and masks -> logits (N, 2, H, W).

    `guide`, if there is one, gives another channel of guidance beside the prior mask: called with the query pictures, and with the
    backbone's maps of them and the support's mean of such maps, which are alike before anything is learned.
    """

    def __init__(self, backbone: Frozen, width: int, shots: int, size: int, stride: int, guide: nn.Module | None = None,
                 dropout: float = 0.5, foreground: float = 1.0) -> None:  # fmt: skip
        super().__init__()
        self.backbone, self.shots, self.size, self.guide, self.foreground = backbone, shots, size, guide, foreground
        middle = backbone.widths[1] + backbone.widths[2]
        self.query, self.support = (
            nn.Sequential(nn.Conv2d(middle, width, 1, bias=False), nn.ReLU(), nn.Dropout2d(dropout)) for _ in range(2))
        side = math.ceil(size / stride)
        self.enrich = Enrich(width, 1 + (guide is not None), [math.ceil(side / 2**number) for number in range(4)])

    def guided(self, query: Tensor, support: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The query's reduced maps, the prototype (N, width, 1, 1), and the channels of guidance: the prior mask first."""
        second, third = self.backbone.early(query)
        maps, high = torch.cat([third, second], 1), self.backbone.layer4(third)
        means, prototypes, priors = [], [], []
        for shot in range(self.shots):
            second, third = self.backbone.early(support[:, shot])
            mask, shown = resized(masks[:, shot : shot + 1], self.enrich.bins[0]), torch.cat([third, second], 1)
            means.append(pooled(shown, mask))
            prototypes.append(pooled(self.support(shown), mask))
            priors.append(prior_mask(high, self.backbone.layer4(third * mask) * mask))
        reduced, prototype, guidance = self.query(maps), sum(prototypes) / self.shots, sum(priors) / self.shots
        if self.guide is not None:
            guidance = torch.cat([guidance, self.guide(query, maps, sum(means) / self.shots)], 1)
        return reduced, prototype, guidance

    def forward(self, query: Tensor, support: Tensor, masks: Tensor) -> Tensor:
        return resized(self.enrich.decode(self.enrich.scales(*self.guided(query, support, masks))), self.size)

    def loss(self, query: Tensor, support: Tensor, masks: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of the logits and, with the same weight together, of each scale's; 255 is not counted, and a pixel of the
        class counts `foreground` times."""
        scales = self.enrich.scales(*self.guided(query, support, masks))
        logits = [self.enrich.decode(scales), *(head(item) for head, item in zip(self.enrich.heads, scales, strict=True))]
        weight = torch.tensor([1.0, self.foreground], device=target.device)
        each = [functional.cross_entropy(resized(item, self.size).float(), target, weight, ignore_index=255) for item in logits]
        return each[0] + torch.stack(each[1:]).mean()


class PriorView(nn.Module):
    """What the network expects before it decodes: its last channel of guidance."""

    def __init__(self, network: EpisodeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, query: Tensor, support: Tensor, masks: Tensor) -> Tensor:
        return self.network.guided(query, support, masks)[2][:, -1:]


def pooled(maps: Tensor, mask: Tensor) -> Tensor:
    """The mean of `maps` (N, C, h, w) over `mask` (N, 1, h, w), as (N, C, 1, 1)."""
    return (maps * mask).sum((2, 3), keepdim=True) / (mask.sum((2, 3), keepdim=True) + 0.0005)


def prior_mask(query: Tensor, support: Tensor) -> Tensor:
    """The greatest cosine of each place of `query` with any of `support` (masked), both (N, C, h, w), as (N, 1, h, w) of 0 to 1."""
    first, second = (functional.normalize(item.flatten(2), dim=1) for item in (query, support))
    return spread((first.transpose(1, 2) @ second).amax(2).view(query[:, :1].shape))


def spread(maps: Tensor) -> Tensor:
    """`maps` (N, 1, h, w), each moved and scaled to 0 to 1."""
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low + 1e-7)


def resized(maps: Tensor, side: int) -> Tensor:
    """`maps` (N, C, h, w) as squares of `side`, corner on corner: a place of a strided convolution's maps is at the pixel that it
    looks around, which are the first and the last one of an image whose side is a multiple of the stride and 1 more."""
    return functional.interpolate(maps, size=(side, side), mode="bilinear", align_corners=True)


def train_episodes(network: EpisodeNetwork, setting: FewShotSegmentation, run: Run, recipe: Recipe, samples: int) -> None:
    """Train `network` in place on `samples`, a sample being a picture; it is deployed without dropout."""
    network.to(device=run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    size = min(recipe.batch, len(setting.train))

    def epoch_of(generator: Generator) -> list[Callable[[], EpisodeBatch]]:
        order = torch.randperm(len(setting.train), generator=generator)
        return [partial(setting.train.batch, rows, True, generator) for rows in order.split(size) if len(rows) == size]

    def loss(batch: EpisodeBatch) -> Tensor:
        support = setting.normalise(batch.support.flatten(0, 1)).view(batch.support.shape)
        parts = setting.normalise(batch.query), support, (batch.masks == 1).float(), batch.target.long()
        with autocast(run):
            return network.loss(*(item.to(run.device) for item in parts))

    optimise(network, epoch_of, loss, run, recipe=recipe, size=size * (1 + setting.shots), samples=samples, name="episodes")
    for module in [item for item in network.modules() if isinstance(item, nn.Sequential)]:
        for name, item in module.named_children():
            if isinstance(item, nn.Dropout2d):
                module[int(name)] = nn.Identity()
