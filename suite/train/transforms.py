"""Augmentations on torchvision's kernels, called like those of `suite.train.augment`; images have one channel or three.

Colours are torchvision's formulas for uint8, rounding included, with a factor for each image of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import InterpolationMode, functional

from suite.train.augment import chosen, places, rectangles, uniform

Fill = list[float] | None


def blend(images: Tensor, others: Tensor | float, factors: Tensor) -> Tensor:
    """uint8 images * factor + others * (1 - factor), float64 factors (B,)."""
    factors = factors.view(-1, 1, 1, 1)
    # In float32, and with addcmul's fused addition: torchvision's last bit decides what is rounded down.
    mixed = torch.addcmul(images * factors.float(), torch.as_tensor(others), (1 - factors).float())
    return mixed.clamp_(0, 255).to(torch.uint8)


def brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Blended with black."""
    return blend(images, 0.0, factors)


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Blended with the mean luminance of the image."""
    return blend(images, functional.rgb_to_grayscale(images).float().mean((1, 2, 3), keepdim=True), factors)


def saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Blended with the luminance; grey images stay."""
    return images if images.shape[1] == 1 else blend(images, functional.rgb_to_grayscale(images), factors)


def hue(images: Tensor, shifts: Tensor) -> Tensor:
    """The hue turned by `shifts` (B,) of -0.5 to 0.5 turns (HSV; Smith 1978); grey images stay."""
    if images.shape[1] == 1:
        return images
    pixels = images.float()
    low, value = pixels.aminmax(dim=1)
    chroma = value - low
    red, green, blue = pixels.unbind(1)
    angle = torch.where(  # in sixths of a turn
        value == red, green - blue, torch.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma)
    ) / chroma.clamp(min=1)  # fmt: skip
    angle += 6 * shifts.float().view(-1, 1, 1)
    turned = [(angle + channel).remainder(6) for channel in (5, 3, 1)]
    turned = [value - chroma * torch.minimum(part, 4 - part).clamp(0, 1) for part in turned]
    return (torch.stack(turned, 1) * (255.999 / 255)).to(torch.uint8)  # torchvision's rounding


@dataclass(frozen=True)
class Colour:
    """Colour jitter (Howard 2013; as in SimCLR and MoCo v2): four changes in random order, for each image with `probability`.

    Factors are drawn from 1 - x to 1 + x for brightness, contrast and saturation, shifts from -x to x turns for the hue.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    probability: float = 1.0

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        jittered = chosen(images, self.probability, generator)
        order = torch.rand((4, len(images)), generator=generator).argsort(0)
        widths = (self.brightness, self.contrast, self.saturation, self.hue)
        factors = [uniform(generator, max(0, 1 - width), 1 + width, len(images)) for width in widths[:3]]
        factors.append(uniform(generator, -self.hue, self.hue, len(images)))
        images = images.clone()
        for turn in order:
            for number, kernel in enumerate((brightness, contrast, saturation, hue)):
                rows = torch.nonzero(jittered & (turn == number)).squeeze(1)
                if widths[number] and len(rows):
                    images[rows] = kernel(images[rows], factors[number][rows])
        return images


@dataclass(frozen=True)
class Grayscale:
    """Each image with `probability` its luminance in all channels."""

    probability: float = 0.2

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        grey = chosen(images, self.probability, generator)
        return torch.where(grey.view(-1, 1, 1, 1), functional.rgb_to_grayscale(images), images)


@dataclass(frozen=True)
class Blur:
    """Gaussian blur of a deviation in `sigma` (pixels), with `probability`, as in SimCLR (Chen et al., ICML 2020, Appendix A).

    The kernel's side is a tenth of the image's, odd, and 3 at least.
    """

    sigma: tuple[float, float] = (0.1, 2.0)
    probability: float = 0.5

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        blurred = chosen(images, self.probability, generator)
        sigmas = uniform(generator, *self.sigma, len(images)).tolist()
        side = max(images.shape[2] // 20 * 2 + 1, 3)
        images = images.clone()
        for row in torch.nonzero(blurred).flatten().tolist():
            across = functional.gaussian_blur(images[row].float(), [side, 1], sigmas[row])
            images[row] = functional.gaussian_blur(across, [1, side], sigmas[row]).round().to(torch.uint8)
        return images


@dataclass(frozen=True)
class Rotate:
    """Each image with `probability` turned about its centre by an angle between -`degrees` and `degrees`."""

    degrees: float = 10.0
    probability: float = 0.5
    fill: tuple[float, ...] = (0,)  # one value, or one a channel

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        turned = chosen(images, self.probability, generator)
        angles = uniform(generator, -self.degrees, self.degrees, len(images)).tolist()
        images = images.clone()
        for row in torch.nonzero(turned).flatten().tolist():
            images[row] = functional.rotate(images[row], angles[row], InterpolationMode.BILINEAR, fill=list(self.fill))
        return images


@dataclass(frozen=True)
class ResizedCrop:
    """Random resized crop (Szegedy et al., CVPR 2015): a window of a share `area` of the image, resized to `size` x `size` pixels.

    Where no window that was drawn fits, it is the largest one of an allowed ratio, in the middle.
    """

    size: int
    area: tuple[float, float] = (0.08, 1.0)  # (0.2, 1.0) in MoCo v2
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width to height
    interpolation: str = "bilinear"  # or "bicubic"; both antialiased

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        high, wide = images.shape[2:]
        height, width = rectangles(images, self.area, self.ratio, generator)
        top, left = places(high - height, generator), places(wide - width, generator)
        middle = min(high, round(wide / self.ratio[0])), min(wide, round(high * self.ratio[1]))
        windows = []
        for image, *box in zip(images, top.tolist(), left.tolist(), height.tolist(), width.tolist(), strict=True):
            if not box[2]:
                box = [(high - middle[0]) // 2, (wide - middle[1]) // 2, *middle]
            windows.append(functional.resized_crop(image, *box, [self.size] * 2, InterpolationMode(self.interpolation)))
        return torch.stack(windows)


class Operation(NamedTuple):
    """One of RandAugment's: `kernel` takes uint8 images, a strength up to `strongest` (of either sign if `signed`), and a fill."""

    kernel: Callable[[Tensor, float, Fill], Tensor]
    strongest: float = 0.0
    signed: bool = False


def warp(images: Tensor, fill: Fill, *, moved: tuple[float, float] = (0, 0), sheared: tuple[float, float] = (0, 0)) -> Tensor:
    """Moved by shares of width and height, whole pixels, and sheared from the top left corner, both (x, y)."""
    pixels = [int(moved[0] * images.shape[-1]), int(moved[1] * images.shape[-2])]
    degrees = [math.degrees(math.atan(slope)) for slope in sheared]
    return functional.affine(images, 0.0, pixels, 1.0, degrees, fill=fill, center=[0, 0])


#: RandAugment's operations by torchvision's names, in its order. Strengths are slopes, shares of width or height, degrees,
#: factors less 1, bits taken off, and the share of 0..255, from the top, that solarize inverts.
OPERATIONS = {
    "Identity": Operation(lambda images, strength, fill: images),
    "ShearX": Operation(lambda images, strength, fill: warp(images, fill, sheared=(strength, 0)), 0.3, True),
    "ShearY": Operation(lambda images, strength, fill: warp(images, fill, sheared=(0, strength)), 0.3, True),
    "TranslateX": Operation(lambda images, strength, fill: warp(images, fill, moved=(strength, 0)), 150 / 331, True),
    "TranslateY": Operation(lambda images, strength, fill: warp(images, fill, moved=(0, strength)), 150 / 331, True),
    "Rotate": Operation(lambda images, strength, fill: functional.rotate(images, strength, fill=fill), 30, True),
    "Brightness": Operation(lambda images, strength, fill: functional.adjust_brightness(images, 1 + strength), 0.9, True),
    "Color": Operation(lambda images, strength, fill: functional.adjust_saturation(images, 1 + strength), 0.9, True),
    "Contrast": Operation(lambda images, strength, fill: functional.adjust_contrast(images, 1 + strength), 0.9, True),
    "Sharpness": Operation(lambda images, strength, fill: functional.adjust_sharpness(images, 1 + strength), 0.9, True),
    "Posterize": Operation(lambda images, strength, fill: functional.posterize(images, 8 - round(strength)), 4),
    "Solarize": Operation(lambda images, strength, fill: functional.solarize(images, 255 * (1 - strength)), 1),
    "AutoContrast": Operation(lambda images, strength, fill: functional.autocontrast(images)),
    "Equalize": Operation(lambda images, strength, fill: functional.equalize(images)),
}


@dataclass(frozen=True)
class RandAugment:
    """RandAugment (Cubuk et al., NeurIPS 2020) with torchvision's operations: `count` of them for each image, one after the other.

    The strength is `magnitude` of `largest`, or drawn around it with `deviation`: ``(2, 9, 10, 0.5)`` is timm's ``m9-mstd0.5``
    but for the list of operations.
    """

    count: int = 2
    magnitude: float = 9
    largest: float = 30
    deviation: float = 0.0
    fill: tuple[float, ...] | None = None  # of what comes in from outside; None is black

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        images, operations = images.clone(), list(OPERATIONS.values())
        fill = None if self.fill is None else list(self.fill)
        for _ in range(self.count):
            numbers = torch.randint(len(operations), (len(images),), generator=generator).tolist()
            drawn = self.magnitude + self.deviation * torch.randn(len(images), generator=generator, dtype=torch.float64)
            signs = torch.where(chosen(images, 0.5, generator), -1, 1).tolist()
            groups: dict[tuple[int, float], list[int]] = {}
            for row, share in enumerate((drawn.clamp(0, self.largest) / self.largest).tolist()):
                operation = operations[numbers[row]]
                strength = share * operation.strongest * (signs[row] if operation.signed else 1)
                groups.setdefault((numbers[row], strength), []).append(row)
            for (number, strength), rows in groups.items():
                images[rows] = operations[number].kernel(images[rows], strength, fill)
        return images
