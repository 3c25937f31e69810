"""Augmentation and normalisation of uint8 image batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Normalise:
    """uint8 (B, C, H, W) to float32 with each channel shifted by `mean` and divided by `deviation` (both for 0..1 images)."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        mean = torch.tensor(self.mean, device=images.device).view(1, -1, 1, 1) * 255
        deviation = torch.tensor(self.deviation, device=images.device).view(1, -1, 1, 1) * 255
        return (images.float() - mean) / deviation


def flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror each image left to right with probability one half."""
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(3), images)


@dataclass(frozen=True)
class CropFlip:
    """The CIFAR augmentation: zero padding by `padding` pixels, a random crop of the old size, a random mirror."""

    normalise: Normalise
    padding: int = 4

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        count, _, height, width = images.shape
        padded = functional.pad(images, (self.padding,) * 4)
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (B, C, 2p+1, 2p+1, H, W), a view
        top, left = torch.randint(0, 2 * self.padding + 1, (2, count), generator=generator)
        cropped = windows[torch.arange(count), :, top, left]
        return self.normalise(flip(cropped, generator))


@dataclass(frozen=True)
class ResizedFlip:
    """The ImageNet augmentation after the reader's random resized crop: a random mirror."""

    normalise: Normalise

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        return self.normalise(flip(images, generator))
