"""Augmentation and normalisation of image batches on the CPU; what needs torchvision's kernels is in `suite.train.transforms`.

An augmentation is called with images uint8 (B, C, H, W) and a generator, of which all its randomness is drawn (batches are made
in a thread beside training, which uses torch's global one), and gives images of the same type. Each image has its own draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from suite.settings import Augment

TRIES = 10  # sizes of a rectangle that are drawn until one fits, as in torchvision


def uniform(generator: Generator, low: float, high: float, *shape: int) -> Tensor:
    """float64 of `shape`, each between `low` and `high`."""
    return torch.rand(shape, generator=generator, dtype=torch.float64) * (high - low) + low


def chosen(images: Tensor, probability: float, generator: Generator) -> Tensor:
    """bool (B,): each image with `probability`."""
    return torch.rand(len(images), generator=generator) < probability


def rectangles(
    images: Tensor, area: tuple[float, float], ratio: tuple[float, float], generator: Generator
) -> tuple[Tensor, Tensor]:
    """Heights and widths int64 (B,) in pixels, both 0 where no size that was drawn fits into the image.

    `area` is the range of the share of the image's, `ratio` that of width to height, uniform in its logarithm.
    """
    height, width = images.shape[2:]
    areas = uniform(generator, *area, TRIES, len(images)) * (height * width)
    ratios = uniform(generator, math.log(ratio[0]), math.log(ratio[1]), TRIES, len(images)).exp()
    heights, widths = (areas / ratios).sqrt().round().long(), (areas * ratios).sqrt().round().long()
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    first = fits.int().argmax(0), torch.arange(len(images))
    return heights[first] * fits[first], widths[first] * fits[first]


def places(room: Tensor, generator: Generator) -> Tensor:
    """int64 of the shape of `room`, each uniform of 0 to `room` inclusive."""
    return (uniform(generator, 0, 1, *room.shape) * (room + 1)).long()


def inside(images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Masks bool (B, 1, H, W) of one rectangle (B,) in each image; what lies outside of the image is cut off."""
    rows, columns = torch.arange(images.shape[2]), torch.arange(images.shape[3])
    down = (rows >= top[:, None]) & (rows < (top + height)[:, None])
    across = (columns >= left[:, None]) & (columns < (left + width)[:, None])
    return (down[:, :, None] & across[:, None, :])[:, None]


def colour(fill: tuple[float, ...], like: Tensor) -> Tensor:
    """`fill`, one value or one a channel, as pixels (1, 1 or C, 1, 1) of the type of `like`."""
    return torch.tensor(fill).to(like.dtype).view(1, -1, 1, 1)


@dataclass(frozen=True)
class Compose:
    """Augmentations one after the other, such as ``Compose((RandomCrop(4, "reflect"), Flip(), normalise))``."""

    steps: tuple[Augment, ...]

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        for step in self.steps:
            images = step(images, generator)
        return images


@dataclass(frozen=True)
class Normalise:
    """uint8 (B, C, H, W) to float32 with each channel shifted by `mean` and divided by `deviation` (both for 0..1 images).

    It draws nothing: the generator is there so that it can end a `Compose`.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __call__(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        mean = torch.tensor(self.mean, device=images.device).view(1, -1, 1, 1) * 255
        deviation = torch.tensor(self.deviation, device=images.device).view(1, -1, 1, 1) * 255
        return (images.float() - mean) / deviation


@dataclass(frozen=True)
class Flip:
    """Each image mirrored left to right with `probability`."""

    probability: float = 0.5

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        mirrored = chosen(images, self.probability, generator)
        return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)


@dataclass(frozen=True)
class RandomCrop:
    """A window of the old size, anywhere in the image with `padding` more pixels on each side (He et al., CVPR 2016)."""

    padding: int = 4
    mode: str = "constant"  # zeros; or "reflect", "replicate"

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        count, _, height, width = images.shape
        source = images if self.mode == "constant" else images.float()  # older versions of torch reflect no integers
        padded = functional.pad(source, (self.padding,) * 4, mode=self.mode).to(images.dtype)
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (B, C, 2p+1, 2p+1, H, W), a view
        top, left = torch.randint(0, 2 * self.padding + 1, (2, count), generator=generator)
        return windows[torch.arange(count), :, top, left]


@dataclass(frozen=True)
class CropFlip:
    """The CIFAR augmentation: padding by `padding` pixels, a random crop of the old size, a random mirror."""

    normalise: Normalise
    padding: int = 4
    mode: str = "constant"  # of `RandomCrop`

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        return Compose((RandomCrop(self.padding, self.mode), Flip(), self.normalise))(images, generator)


@dataclass(frozen=True)
class ResizedFlip:
    """The ImageNet augmentation after the reader's random resized crop: a random mirror."""

    normalise: Normalise

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        return Compose((Flip(), self.normalise))(images, generator)


@dataclass(frozen=True)
class Erase:
    """Random erasing (Zhong et al., AAAI 2020): with `probability` a rectangle anywhere in the image gets `fill`.

    It stands before or after Normalise; `fill` is in the units of the place, one value or one a channel. Without any, each
    pixel is drawn: standard normal after Normalise, as timm's ``pixel``, any byte before it.
    """

    probability: float = 0.5
    area: tuple[float, float] = (0.02, 0.33)  # share of the image's
    ratio: tuple[float, float] = (0.3, 1 / 0.3)  # width to height
    fill: tuple[float, ...] = (0,)

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        erased = chosen(images, self.probability, generator)
        height, width = rectangles(images, self.area, self.ratio, generator)
        top, left = places(images.shape[2] - height, generator), places(images.shape[3] - width, generator)
        if self.fill:
            fill = colour(self.fill, images)
        elif images.is_floating_point():
            fill = torch.randn(images.shape, generator=generator)
        else:
            fill = torch.randint(256, images.shape, generator=generator, dtype=images.dtype)
        return torch.where(inside(images, top, left, height * erased, width), fill, images)


@dataclass(frozen=True)
class Cutout:
    """Cutout (DeVries and Taylor 2017): a square of `side` pixels around any pixel, cut at the image's borders, gets `fill`."""

    side: int = 16
    fill: tuple[float, ...] = (0,)  # as in `Erase`

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        count, _, height, width = images.shape
        top, left = (torch.randint(0, size, (count,), generator=generator) - self.side // 2 for size in (height, width))
        side = torch.full((count,), self.side)
        return torch.where(inside(images, top, left, side, side), colour(self.fill, images), images)
