"""Mixing the images of a batch: their labels become shares of classes, float32 (B, classes), as cross-entropy takes them.

Called with images (B, C, H, W), uint8 or float32 after Normalise, labels int64 (B,) and the generator; each image has its own
partner in the batch and its own share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from suite.train.augment import inside, uniform

#: What turns images and labels into mixed images and targets.
Mix = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]


def shares(alpha: float, count: int, generator: Generator) -> Tensor:
    """float64 (count,) of Beta(alpha, alpha): its quantiles at uniform draws, because torch's Beta takes no generator."""
    from scipy.special import betaincinv

    return torch.from_numpy(betaincinv(alpha, alpha, uniform(generator, 0, 1, count).numpy()))


def targets(labels: Tensor, partners: Tensor, share: Tensor, classes: int) -> Tensor:
    """float32 (B, classes): `share` (B,) of each image's label and the rest of its partner's."""
    whole = functional.one_hot(labels, classes)
    share = share.view(-1, 1)
    return (whole * share + whole[partners] * (1 - share)).float()


@dataclass(frozen=True)
class MixUp:
    """mixup (Zhang et al., ICLR 2018): a share of Beta(alpha, alpha) of an image, the rest of its partner."""

    classes: int
    alpha: float = 0.2

    def __call__(self, images: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        partners = torch.randperm(len(images), generator=generator)
        share = shares(self.alpha, len(images), generator)
        mixed = torch.lerp(images[partners].float(), images.float(), share.float().view(-1, 1, 1, 1))
        mixed = mixed if images.is_floating_point() else mixed.round().to(images.dtype)
        return mixed, targets(labels, partners, share, self.classes)


@dataclass(frozen=True)
class CutMix:
    """CutMix (Yun et al., ICCV 2019): a rectangle of the image's shape around any of its pixels shows the partner.

    Its area is 1 - Beta(alpha, alpha) before it is cut at the borders; the targets have the share of pixels that are left.
    """

    classes: int
    alpha: float = 1.0

    def __call__(self, images: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        partners = torch.randperm(len(images), generator=generator)
        sides = (1 - shares(self.alpha, len(images), generator)).sqrt()
        corners, lengths = [], []
        for size in images.shape[2:]:
            half = (sides * size / 2).long()
            corners.append(torch.randint(0, size, (len(images),), generator=generator) - half)
            lengths.append(2 * half)
        mask = inside(images, *corners, *lengths)
        return torch.where(mask, images[partners], images), targets(
            labels, partners, 1 - mask.double().mean((1, 2, 3)), self.classes)


@dataclass(frozen=True)
class Alternate:
    """One of `mixes` for each batch, all equally likely, as timm does with mixup and CutMix."""

    mixes: tuple[Mix, ...]

    def __call__(self, images: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        return self.mixes[int(torch.randint(len(self.mixes), (), generator=generator))](images, labels, generator)
