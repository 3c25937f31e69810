"""The embedded data: procedural pictures that a network has to look at.

A class is a pair of a silhouette and a texture, and needs both. All else is drawn without regard to the class: colours,
position, size, rotation, the background's own texture, smaller objects of other classes, an occluding bar, blur, light
and noise. So mean colours say nothing, and a linear classifier on pixels learns little.

The bytes are the same on every machine, see :mod:`suite.data.embedded.drawing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from suite.data.embedded import drawing
from suite.data.embedded.drawing import SHAPES, TEXTURES, Array, Draw, painted, plane, textured, turned

VERSION = 1  # a change of any byte below gets a new one

COUNTS = {"train": 10_000, "test": 2_000}
PHOTOGRAPH_COUNTS = {"train": 2_000, "test": 500}
SPLITS = ("train", "test")
SIZE = 32
CHUNK = 500  # images drawn at once: small enough for the processor's cache, and part of the format

class Kind(NamedTuple):
    """What makes up the classes, and how hard their pictures are.

    A label counts through `shapes`, `textures` and `grounds`, the last fastest. Where `grounds` is None the background
    says nothing.
    """

    shapes: tuple[str, ...]
    textures: tuple[str, ...]
    grounds: tuple[str, ...] | None
    contrast: tuple[float, float]  # of the background's two colours
    periods: tuple[float, float]  # of the background's texture in a picture's side
    clutter: int  # smaller objects of other classes; where there are any, half of the pictures get a bar as well
    noise: float  # the knob: standard deviation of the pixel noise on a scale of 0 to 1
    tilt: float = 1.0  # tangent of half the greatest rotation; 1 is any rotation
    paired: bool = False  # an object has the shape and the texture of the same number, so that either tells it

    def parts(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The numbers of the shape, texture and ground of each label."""
        objects, ground = np.divmod(labels, len(self.grounds or " "))
        if self.paired:
            return objects, objects, ground
        return *np.divmod(objects, len(self.textures)), ground


KINDS = {
    10: Kind(tuple(SHAPES)[:5], tuple(TEXTURES)[:2], None, (0.0, 0.3), (3, 9), clutter=2, noise=0.09),
    100: Kind(tuple(SHAPES), tuple(TEXTURES), tuple(reversed(TEXTURES)), (0.3, 0.6), (3, 6), clutter=0, noise=0.1, tilt=0.2,
              paired=True),
}
PHOTOGRAPHS = Kind(tuple(SHAPES), tuple(TEXTURES), None, (0.0, 0.3), (3, 9), clutter=1, noise=0.05, tilt=0.2, paired=True)
SYNSETS = tuple(f"n{number:08d}" for number in range(1, 11))  # no real ones are this small


def class_names(classes: int) -> list[str]:
    """Names by label: of 10 or 100 classes, or of the latter's 20 groups (an object on one half of the grounds)."""
    if classes == 20:
        return [f"{name} and similar" for name in class_names(100)[::5]]
    kind = KINDS[classes]
    objects = np.arange(classes // len(kind.grounds or " "))
    shapes, textures, _ = kind._replace(grounds=None).parts(objects)
    names = [f"{kind.textures[texture]} {kind.shapes[shape]}" for shape, texture in zip(shapes, textures, strict=True)]
    return [f"{name} on {ground}" for name in names for ground in kind.grounds] if kind.grounds else names


def grouped(labels: np.ndarray, classes: int, groups: int) -> np.ndarray:
    """The labels (N,) in `groups` equal, contiguous groups of `classes`; themselves where there are as many."""
    return labels // (classes // groups)


def tiny_images(classes: int, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 3, 32, 32) and labels int64 (N,) of the embedded CIFAR data, in random order, balanced."""
    count = COUNTS[split]
    draw = Draw(VERSION, classes, SPLITS.index(split))
    labels = (np.arange(count) % classes)[draw.permutation(count)]
    chunks = [pictures(labels[start : start + CHUNK], KINDS[classes], SIZE, draw) for start in range(0, count, CHUNK)]
    return np.concatenate(chunks), labels


def photographs(split: str) -> Iterator[tuple[np.ndarray, int]]:
    """Images uint8 (H, W, 3) of 68 to 110 pixels a side, with their labels, of the embedded ImageNet data."""
    draw = Draw(VERSION, 1000, SPLITS.index(split))
    classes = len(SYNSETS)
    for number in range(PHOTOGRAPH_COUNTS[split] // 50):
        labels = draw.permutation(50) % classes
        size = 74 + 4 * (number % 10)
        high, wide = (size, size - number % 7) if number % 2 else (size - number % 5, size)
        images = pictures(labels, PHOTOGRAPHS, size, draw)[:, :, :high, :wide]
        yield from zip(images.transpose(0, 2, 3, 1), labels.tolist(), strict=True)


def pictures(labels: np.ndarray, kind: Kind, size: int, draw: Draw) -> np.ndarray:
    """Pictures uint8 (N, 3, size, size) of the classes `labels` (N,)."""
    count = len(labels)
    shape, texture, ground = kind.parts(labels)
    canvas = _background(ground, size, kind, draw)
    for _ in range(kind.clutter):  # the main object may cover them
        shapes, textures = draw.integers(len(kind.shapes), count), draw.integers(len(kind.textures), count)
        canvas = _with_object(canvas, shapes, textures, kind, draw, radius=(0.09, 0.15), spread=0.42)
    canvas = _with_object(canvas, shape, texture, kind, draw, radius=(0.26, 0.40), spread=0.12)
    if kind.clutter:
        canvas = _with_bar(canvas, draw)
    return _photographed(canvas, kind.noise, draw)


def _background(ground: np.ndarray, size: int, kind: Kind, draw: Draw) -> Array:
    """The texture `ground` (N,) of the kind, or any texture where it has no grounds, (N, 3, S, S)."""
    count = len(ground)
    x, y = turned(*plane(size), draw, count, kind.tilt)
    periods, shift = draw.uniform(*kind.periods, count, 1, 1), draw.uniform(0, 1, count, 2, 1, 1)
    names = kind.grounds or tuple(TEXTURES)
    which = ground if kind.grounds else draw.integers(len(names), count)
    pattern = textured(x * periods + shift[:, 0], y * periods + shift[:, 1], which, names)
    return painted(pattern, draw, (0.1, 0.7), kind.contrast)


def _with_object(
    canvas: Array, shape: np.ndarray, texture: np.ndarray, kind: Kind, draw: Draw, radius: tuple[float, float], spread: float,
) -> Array:
    """`canvas` with an object of the numbers `shape` and `texture` (N,) on each; lengths in parts of the side."""
    count, size = len(canvas), canvas.shape[-1]
    x, y = plane(size)
    at = draw.uniform(-spread, spread, count, 2, 1, 1)
    scale = draw.uniform(*radius, count, 1, 1)
    stretch = draw.uniform(0.85, 1.18, count, 1, 1)
    u, v = turned(x - at[:, 0], y - at[:, 1], draw, count, kind.tilt)
    u, v = u / (scale * stretch), v / (scale / stretch)
    distance = drawing.shaped(u, v, shape, kind.shapes)
    inside = np.clip(np.float32(0.5) - distance * scale * np.float32(size), 0, 1)[:, None]
    x, y = turned(u, v, draw, count, kind.tilt)
    periods, shift = draw.uniform(1.3, 2.1, count, 1, 1), draw.uniform(0, 1, count, 2, 1, 1)
    pattern = textured(x * periods + shift[:, 0], y * periods + shift[:, 1], texture, kind.textures)
    return canvas + inside * (painted(pattern, draw, (0.3, 0.9), (0.3, 0.8)) - canvas)


def _with_bar(canvas: Array, draw: Draw) -> Array:
    """`canvas` with a plain bar across half of the pictures."""
    count, size = len(canvas), canvas.shape[-1]
    x, _ = turned(*plane(size), draw, count)
    offset, half = draw.uniform(-0.35, 0.35, count, 1, 1), draw.uniform(0.03, 0.08, count, 1, 1)
    there = (draw.integers(2, count, 1, 1) == 1).astype(np.float32)
    inside = there * np.clip(np.float32(0.5) + (half - np.abs(x - offset)) * np.float32(size), 0, 1)
    return canvas + inside[:, None] * (draw.uniform(0, 1, count, 3, 1, 1) - canvas)


def _photographed(canvas: Array, noise: float, draw: Draw) -> Array:
    """uint8 pictures: light that falls off to one side, some blur, noise, and rounding."""
    count, size = len(canvas), canvas.shape[-1]
    x, _ = turned(*plane(size), draw, count)
    light = draw.uniform(0.7, 1.2, count, 1, 1) + draw.uniform(0, 0.7, count, 1, 1) * x
    soft = draw.uniform(0, 0.33, count, 1, 1, 1)
    return drawing.levels(drawing.blurred(canvas, soft) * light[:, None] + np.float32(noise) * draw.noise(*canvas.shape))
