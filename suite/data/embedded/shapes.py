"""The embedded data of few-shot segmentation: pictures with objects of 20 classes, and a class number for every pixel.

A class is a silhouette with a texture in two colours, which vary a little. Each silhouette belongs to two classes, each texture to
two and each pair of colours to four, and two classes share one of the three at most: none tells a class alone, and what the classes
of a fold of five are made of is seen in classes of other folds. All else is drawn without regard to the class: place, size,
rotation, stretching, the background with its colours and texture, smaller unnamed objects, light and noise.
As in PASCAL VOC the pixels along an outline are not counted (255).

The bytes are the same on every machine, see :mod:`suite.data.embedded.drawing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from suite.data.embedded.drawing import SHAPES, TEXTURES, Array, Draw
from suite.data.embedded.scenes import Canvas

VERSION = 1  # a change of any byte below gets a new one

COUNTS = {"train": 1000, "test": 300}
SIZES = ((96, 96), (80, 96), (96, 80), (88, 96))  # height and width in pixels
APART = (3, 7)  # a texture's place behind its silhouette's; 0 are the classes of the embedded photographs, for pre-training
PARTS = tuple((shape, tuple(TEXTURES)[(number + apart) % len(TEXTURES)]) for apart in APART for number, shape in enumerate(SHAPES))
COLOURS = {
    "red": ((0.85, 0.25, 0.2), (0.95, 0.75, 0.6)),
    "blue": ((0.15, 0.35, 0.8), (0.6, 0.8, 0.95)),
    "green": ((0.2, 0.6, 0.25), (0.75, 0.9, 0.45)),
    "brown": ((0.9, 0.75, 0.15), (0.45, 0.3, 0.1)),
    "violet": ((0.55, 0.2, 0.6), (0.9, 0.7, 0.85)),
}
VARIED = 0.08  # a colour's greatest change in each channel
COLOURED = tuple(tuple(COLOURS)[(2 * number + number // len(SHAPES)) % len(COLOURS)] for number in range(len(PARTS)))
CLASSES = tuple(f"{colour} {texture} {shape}" for colour, (shape, texture) in zip(COLOURED, PARTS, strict=True))
UNNAMED = tuple((shape, tuple(TEXTURES)[(number + 5) % len(TEXTURES)]) for number, shape in enumerate(SHAPES))
MOST = 3  # objects in a picture
OUTLINE = 255


class Drawn(NamedTuple):
    """A picture uint8 (H, W, 3) and its mask uint8 (H, W) of 0, 1 to 20, and 255."""

    pixels: Array
    mask: Array


def draw_pictures(split: str, count: int | None = None) -> Iterator[Drawn]:
    """The first `count` pictures of a split (all of them by default)."""
    draw = Draw(VERSION, 2012, ("train", "test").index(split))
    for number in range(COUNTS[split] if count is None else count):
        yield _picture(number, draw)


def _picture(number: int, draw: Draw) -> Drawn:
    high, wide = SIZES[number % len(SIZES)]
    canvas = Canvas(high, wide, draw, contrast=(0.0, 0.15))
    for _ in range(2):
        canvas.place(UNNAMED[int(draw.integers(len(UNNAMED), 1)[0])], _anywhere(canvas), _radius(canvas, 0.06, 0.12), (0.2, 0.5))
    canvas.forget()
    classes = {0: 0}
    wanted = 2 + int(draw.integers(MOST - 1, 1)[0])
    for _ in range(wanted):
        label = int(draw.integers(len(PARTS), 1)[0])
        colours = np.array(COLOURS[COLOURED[label]], np.float32) + draw.uniform(-VARIED, VARIED, 2, 3)
        classes[canvas.place(PARTS[label], _anywhere(canvas), _radius(canvas, 0.18, 0.36), colours=colours)] = label + 1
    classes[0] = 0  # what found no room
    mask = np.zeros((high, wide), np.uint8)
    for owner, label in classes.items():
        mask[canvas.owner == owner] = label
    return Drawn(canvas.photograph(noise=0.03), _outlined(mask))


def _outlined(mask: np.ndarray) -> np.ndarray:
    """`mask` with `OUTLINE` where the pixel to the right or below is of another class."""
    found = mask.copy()
    found[:, :-1][mask[:, :-1] != mask[:, 1:]] = OUTLINE
    found[:-1][mask[:-1] != mask[1:]] = OUTLINE
    return found


def _radius(canvas: Canvas, least: float, most: float) -> Array:
    """(1, 1) pixels."""
    return canvas.draw.uniform(least, most, 1, 1) * np.float32(canvas.side)


def _anywhere(canvas: Canvas) -> tuple[Array, Array]:
    """A point x, y in the picture, (1, 1) each."""
    high, wide = canvas.owner.shape
    where = np.float32(0.5) + canvas.draw.uniform(-0.36, 0.36, 2, 1, 1)
    return where[0] * np.float32(wide), where[1] * np.float32(high)
