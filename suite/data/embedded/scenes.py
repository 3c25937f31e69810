"""The embedded scenes: several textured objects of any size over each other on clutter, with their visible masks.

A category is a pair of a silhouette and a texture, either of which tells it. Pieces of clutter have other silhouettes and
textures and no label. The bytes are the same on every machine, see :mod:`suite.data.embedded.drawing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from suite.data.embedded.drawing import SHAPES, TEXTURES, Array, Draw, levels, painted, turned

VERSION = 2  # a change of any byte below gets a new one

COUNTS = {"train": 1200, "test": 150}
SIZES = ((128, 160), (160, 128), (144, 144), (128, 144))  # height and width in pixels
PARTS = tuple(zip(SHAPES, TEXTURES, strict=True))
OBJECTS, CLUTTER = PARTS[:6], PARTS[6:]
CATEGORIES = tuple(f"{texture} {shape}" for shape, texture in OBJECTS)
CATEGORY_IDS = (1, 2, 4, 7, 8, 11)  # with gaps, like COCO's own
LEAST_VISIBLE = 0.4  # share of an object that later ones must leave to be seen
LEAST_PIXELS = 30

class Thing(NamedTuple):
    """One annotation: the row of its category, its visible pixels bool (H, W), and whether it is a crowd."""

    category: int
    mask: Array
    crowd: bool


class Scene(NamedTuple):
    """A picture uint8 (H, W, 3) with what is to be found in it."""

    pixels: Array
    things: list[Thing]


def draw_scenes(split: str, count: int | None = None) -> Iterator[Scene]:
    """The first `count` scenes of a split (all of them by default)."""
    draw = Draw(VERSION, 2017, ("train", "test").index(split))
    for number in range(COUNTS[split] if count is None else count):
        yield _scene(number, draw)


class Canvas:
    """A picture being painted, float32 (3, H, W) of 0 to 1, and the number of the object that each pixel shows.

    It begins as a `ground` of one texture whose two colours differ by `contrast`.
    """

    def __init__(self, high: int, wide: int, draw: Draw, contrast: tuple[float, float] = (0.0, 0.25)) -> None:
        self.draw, self.side = draw, min(high, wide)
        x, y = _grid(0, high, 0, wide)
        u, v = _turned(x, y, draw)
        periods = draw.uniform(4, 10, 1, 1) / np.float32(self.side)
        names = tuple(TEXTURES)
        self.ground = name = names[int(draw.integers(len(names), 1)[0])]
        shift = draw.uniform(0, 1, 2, 1, 1)
        pattern = TEXTURES[name](u * periods + shift[0], v * periods + shift[1])
        self.pixels = painted(pattern[None], draw, (0.15, 0.65), contrast)[0]
        self.owner = np.zeros((high, wide), np.int16)  # 0 is the background
        self.sizes = [1]  # pixels of each object inside the picture, covered or not

    def place(self, part: tuple[str, str], at: tuple[Array, Array], radius: Array, contrast: tuple[float, float] = (0.35, 0.8),
              colours: Array | None = None) -> int:  # fmt: skip
        """Paint an object at `at` pixels, unless too little of it or of what it covers would be seen: its number, else 0.

        Its two `colours` (2, 3) are random ones that differ by `contrast` where none are given.
        """
        draw, (shape, texture) = self.draw, part
        high, wide = self.owner.shape
        reach = radius * np.float32(1.6)  # of any silhouette, stretched
        top, bottom = (int(np.clip(edge, 0, high).item()) for edge in (at[1] - reach, at[1] + reach + 1))
        left, right = (int(np.clip(edge, 0, wide).item()) for edge in (at[0] - reach, at[0] + reach + 1))
        x, y = _grid(top, bottom, left, right)
        stretch = draw.uniform(0.8, 1.25, 1, 1)
        u, v = _turned(x - at[0], y - at[1], draw)
        u, v = u / (radius * stretch), v / (radius / stretch)
        distance = SHAPES[shape](u, v) * radius
        p, q = _turned(u, v, draw)
        periods, shift = draw.uniform(1.3, 2.1, 1, 1), draw.uniform(0, 1, 2, 1, 1)
        pattern = TEXTURES[texture](p * periods + shift[0], q * periods + shift[1])
        if colours is None:
            paint = painted(pattern[None], draw, (0.3, 0.9), contrast)[0]
        else:
            first, second = colours[:, :, None, None]
            paint = np.float32(0.5) * (first + second + (first - second) * pattern)
        mask = distance < 0
        window = np.s_[top:bottom, left:right]
        if not self._may(mask, window):
            return 0
        inside = np.clip(np.float32(0.5) - distance, 0, 1)
        self.pixels[:, *window] += inside * (paint - self.pixels[:, *window])
        self.owner[window][mask] = len(self.sizes)
        self.sizes.append(int(mask.sum()))
        return len(self.sizes) - 1

    def forget(self) -> None:
        """Make all that was placed so far part of the background."""
        self.owner[:] = 0
        self.sizes = [1]

    def mask(self, number: int) -> Array:
        """The visible pixels of an object, bool (H, W)."""
        return self.owner == number

    def photograph(self, noise: float) -> Array:
        """uint8 (H, W, 3): light that falls off to one side, noise, and rounding."""
        draw, (_, high, wide) = self.draw, self.pixels.shape
        across, _ = _turned(*_grid(0, high, 0, wide), draw)
        light = draw.uniform(0.75, 1.15, 1, 1) + draw.uniform(0, 0.5, 1, 1) * (across / np.float32(wide) - np.float32(0.5))
        return levels(self.pixels * light + np.float32(noise) * draw.noise(3, high, wide)).transpose(1, 2, 0)

    def _may(self, mask: Array, window: tuple[slice, slice]) -> bool:
        if mask.sum() < LEAST_PIXELS:
            return False
        for number in np.unique(self.owner[window][mask]).tolist():
            left = int(self.mask(number).sum()) - int((self.owner[window][mask] == number).sum())
            if number and (left < LEAST_VISIBLE * self.sizes[number] or left < LEAST_PIXELS):
                return False
        return True


def _scene(number: int, draw: Draw) -> Scene:
    high, wide = SIZES[number % len(SIZES)]
    canvas = Canvas(high, wide, draw)
    groups: dict[int, tuple[int, bool]] = {}  # object: its category, and whether it belongs to a crowd
    for _ in range(3):
        canvas.place(CLUTTER[int(draw.integers(len(CLUTTER), 1)[0])], _anywhere(canvas), _radius(canvas, 0.05, 0.1), (0.2, 0.5))
    canvas.forget()
    if number % 12 == 5:
        _crowd(canvas, groups)
    count = 0 if number % 16 == 7 else 1 + int(draw.integers(7, 1)[0])
    radii = sorted((_radius(canvas, 0.055, 0.56) for _ in range(count)), key=np.ndarray.item, reverse=True)  # small ones on top
    for radius in radii:
        category = int(draw.integers(len(OBJECTS), 1)[0])
        if placed := canvas.place(OBJECTS[category], _anywhere(canvas, radius), radius, (0.35, 0.8)):
            groups[placed] = (category, False)
    things = [Thing(category, canvas.mask(number), False) for number, (category, crowd) in groups.items() if not crowd]
    if crowded := [number for number, (_, crowd) in groups.items() if crowd]:
        things.append(Thing(groups[crowded[0]][0], np.isin(canvas.owner, crowded), True))
    return Scene(canvas.photograph(noise=0.04), things)


def _crowd(canvas: Canvas, groups: dict[int, tuple[int, bool]]) -> None:
    """Many small objects of one category close together, which get one annotation."""
    draw = canvas.draw
    category = int(draw.integers(len(OBJECTS), 1)[0])
    middle = _anywhere(canvas)
    for _ in range(12):
        spread = draw.uniform(-0.2, 0.2, 2, 1, 1) * np.float32(canvas.side)
        at = (middle[0] + spread[0], middle[1] + spread[1])
        if placed := canvas.place(OBJECTS[category], at, _radius(canvas, 0.04, 0.06), (0.35, 0.8)):
            groups[placed] = (category, True)


def _radius(canvas: Canvas, least: float, most: float) -> Array:
    """(1, 1) pixels, small ones more often."""
    unit = canvas.draw.uniform(0, 1, 1, 1)
    return (np.float32(least) + np.float32(most - least) * unit * unit) * np.float32(canvas.side)


def _anywhere(canvas: Canvas, radius: Array | None = None) -> tuple[Array, Array]:
    """A point x, y in the picture, (1, 1) each; the larger the object, the nearer to the middle."""
    high, wide = canvas.owner.shape
    reach = np.float32(0.44) if radius is None else np.float32(0.46) - np.float32(0.55) * radius / np.float32(canvas.side)
    where = np.float32(0.5) + reach * canvas.draw.uniform(-1, 1, 2, 1, 1)
    return where[0] * np.float32(wide), where[1] * np.float32(high)


def _grid(top: int, bottom: int, left: int, right: int) -> tuple[Array, Array]:
    """The pixels' centres, x (1, W) and y (H, 1)."""
    half = np.float32(0.5)
    return np.arange(left, right, dtype=np.float32)[None] + half, np.arange(top, bottom, dtype=np.float32)[:, None] + half


def _turned(x: Array, y: Array, draw: Draw) -> tuple[Array, Array]:
    """`x` and `y` rotated by a random angle, (H, W)."""
    u, v = turned(x, y, draw, 1)
    return u[0], v[0]
