"""The embedded data: procedural pictures that a network has to look at.

A class is a pair of a silhouette and a texture, and needs both. All else is drawn without regard to the class: colours,
position, size, rotation, the background's own texture, smaller objects of other classes, an occluding bar, blur, light
and noise. So mean colours say nothing, and a linear classifier on pixels learns little.

The bytes must be the same on every machine. Hence numbers come from PCG64's raw output (the one stream that NumPy
promises never to change), and pixels from +, -, *, / and square roots, which IEEE 754 rounds exactly; no sine, no
matrix product, no sum of floats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from suite.data.source import Split

VERSION = 1  # a change of any byte below gets a new one

COUNTS = {"train": 10_000, "test": 2_000}
PHOTOGRAPH_COUNTS = {"train": 2_000, "test": 500}
SPLITS = ("train", "test")
SIZE = 32
CHUNK = 500  # images drawn at once: small enough for the processor's cache, and part of the format

Array = np.ndarray  # float32 throughout: planes (N, S, S), or numbers (N, 1, 1)


class Draw:
    """Random numbers from the raw 64-bit output of PCG64."""

    def __init__(self, *seed: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed))

    def uniform(self, low: float, high: float, *shape: int) -> Array:
        """float32 in [low, high) of `shape`, multiples of (high - low) / 2**24."""
        raw = self._bits.random_raw(int(np.prod(shape))) >> np.uint64(40)
        unit = raw.astype(np.float32) * np.float32(2.0**-24)
        return (np.float32(low) + np.float32(high - low) * unit).reshape(shape)

    def integers(self, below: int, *shape: int) -> np.ndarray:
        """int64 in [0, below) of `shape`; the bias of the remainder is under 2**-50."""
        return (self._bits.random_raw(int(np.prod(shape))) % np.uint64(below)).astype(np.int64).reshape(shape)

    def noise(self, *shape: int) -> Array:
        """float32 of `shape` with mean 0 and variance 1: the sum of four bytes, nearly normal."""
        raw = self._bits.random_raw((int(np.prod(shape)) + 1) // 2).astype("<u8").view(np.uint8).reshape(-1, 4)
        total = raw.astype(np.int16).sum(axis=1)[: int(np.prod(shape))]
        return ((total - np.float32(510.0)) * np.float32(1 / 147.8)).astype(np.float32).reshape(shape)

    def permutation(self, count: int) -> np.ndarray:
        """int64 (count,): a random order."""
        return np.argsort(self._bits.random_raw(count), kind="stable")


def _wave(x: Array) -> Array:
    """A triangle wave of period 1 between -1 and 1."""
    return 4 * np.abs(x - np.floor(x) - np.float32(0.5)) - 1


def _box(u: Array, v: Array, wide: float, high: float) -> Array:
    return np.maximum(np.abs(u) - np.float32(wide), np.abs(v) - np.float32(high))


def _disc(u: Array, v: Array, radius: float) -> Array:
    return np.sqrt(u * u + v * v) - np.float32(radius)


# Silhouettes: a distance to the outline, below 0 inside, of coordinates where the object is about 1 in radius.
SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "disc": lambda u, v: _disc(u, v, 0.95),
    "square": lambda u, v: _box(u, v, 0.82, 0.82),
    "cross": lambda u, v: np.minimum(_box(u, v, 0.36, 1.05), _box(u, v, 1.05, 0.36)),
    "ring": lambda u, v: np.abs(_disc(u, v, 0.76)) - np.float32(0.3),
    "triangle": lambda u, v: np.maximum(0.87 * np.abs(u) + 0.5 * v, -v) - np.float32(0.56),
    "bar": lambda u, v: _box(u, v, 0.42, 1.2),
    "half": lambda u, v: np.maximum(_disc(u, v + np.float32(0.35), 1.1), -v - np.float32(0.35)),
    "moon": lambda u, v: np.maximum(_disc(u, v, 1.05), -_disc(u - np.float32(0.6), v, 0.8)),
    "corner": lambda u, v: np.minimum(_box(u + np.float32(0.55), v, 0.36, 0.95), _box(u, v - np.float32(0.6), 0.91, 0.36)),
    "pair": lambda u, v: _disc(np.abs(u) - np.float32(0.62), v, 0.52),
}

# Textures: -1 to 1, of coordinates that count periods.
TEXTURES: dict[str, Callable[[Array, Array], Array]] = {
    "stripes": lambda x, y: _wave(x),
    "checks": lambda x, y: np.clip(2 * _wave(x) * _wave(y), -1, 1),
    "dots": lambda x, y: np.clip(1.2 * (_wave(x) + _wave(y)) - np.float32(0.6), -1, 1),
    "zigzag": lambda x, y: _wave(x + np.float32(0.35) * _wave(np.float32(0.5) * y)),
    "grid": lambda x, y: np.clip(3 * np.maximum(_wave(x), _wave(y)) - np.float32(1.9), -1, 1),
    "rings": lambda x, y: _wave(np.sqrt(x * x + y * y)),
    "bricks": lambda x, y: np.clip(3 * np.maximum(_wave(y), _wave(np.float32(0.5) * (x + np.floor(y)))) - np.float32(1.9), -1, 1),
    "dashes": lambda x, y: np.minimum(_wave(x), np.clip(2 * _wave(np.float32(0.5) * y), -1, 1)),
    "plain": lambda x, y: np.float32(0.2) * _wave(np.float32(0.2) * x),
    "wide stripes": lambda x, y: _wave(np.float32(0.45) * x),
}


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
    100: Kind(
        tuple(SHAPES),
        tuple(TEXTURES),
        tuple(reversed(TEXTURES)),
        (0.3, 0.6),
        (3, 6),
        clutter=0,
        noise=0.1,
        tilt=0.2,
        paired=True,
    ),
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


def tiny_images(classes: int, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 3, 32, 32) and labels int64 (N,) of the embedded CIFAR data, in random order, balanced."""
    count = COUNTS[split]
    draw = Draw(VERSION, classes, SPLITS.index(split))
    labels = (np.arange(count) % classes)[draw.permutation(count)]
    chunks = [pictures(labels[start : start + CHUNK], KINDS[classes], SIZE, draw) for start in range(0, count, CHUNK)]
    return np.concatenate(chunks), labels


def photographs(split: Split) -> Iterator[tuple[np.ndarray, int]]:
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


def _plane(size: int) -> tuple[Array, Array]:
    """Coordinates (1, S) and (S, 1) of the pixels' centres, from -0.5 to 0.5."""
    line = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size) - np.float32(0.5)
    return line[None, :], line[:, None]


def _turned(x: Array, y: Array, draw: Draw, count: int, tilt: float = 1.0) -> tuple[Array, Array]:
    """`x` and `y` rotated by a random angle for each picture, (N, S, S); see `Kind.tilt`."""
    t = draw.uniform(-tilt, tilt, count, 1, 1)  # tangent of half the angle: -90 to 90 degrees for 1
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    over = (draw.integers(2, count, 1, 1) == 1) & (tilt == 1)
    back = np.where(over, np.float32(-1), np.float32(1))
    return back * (cos * x + sin * y), back * (cos * y - sin * x)


def _paint(pattern: Array, draw: Draw, middle: tuple[float, float], contrast: tuple[float, float]) -> Array:
    """`pattern` (N, S, S) of -1 to 1 as a mixture of two random colours, (N, 3, S, S).

    In each channel their mean lies in `middle` and their difference in `contrast`, with any sign.
    """
    count = len(pattern)
    mean = draw.uniform(*middle, count, 3, 1, 1)
    sign = np.where(draw.integers(2, count, 3, 1, 1) == 1, np.float32(1), np.float32(-1))
    apart = sign * draw.uniform(*contrast, count, 3, 1, 1)
    return mean + np.float32(0.5) * apart * pattern[:, None]


def _texture(x: Array, y: Array, which: np.ndarray, names: tuple[str, ...]) -> Array:
    """The texture `which` (N,) of each picture at x, y (N, S, S) in periods."""
    out = np.empty_like(x)
    for number, name in enumerate(names):
        rows = np.flatnonzero(which == number)
        out[rows] = TEXTURES[name](x[rows], y[rows])
    return out


def _background(ground: np.ndarray, size: int, kind: Kind, draw: Draw) -> Array:
    """The texture `ground` (N,) of the kind, or any texture where it has no grounds, (N, 3, S, S)."""
    count = len(ground)
    x, y = _turned(*_plane(size), draw, count, kind.tilt)
    periods, shift = draw.uniform(*kind.periods, count, 1, 1), draw.uniform(0, 1, count, 2, 1, 1)
    names = kind.grounds or tuple(TEXTURES)
    which = ground if kind.grounds else draw.integers(len(names), count)
    pattern = _texture(x * periods + shift[:, 0], y * periods + shift[:, 1], which, names)
    return _paint(pattern, draw, (0.1, 0.7), kind.contrast)


def _with_object(
    canvas: Array,
    shape: np.ndarray,
    texture: np.ndarray,
    kind: Kind,
    draw: Draw,
    radius: tuple[float, float],
    spread: float,
) -> Array:
    """`canvas` with an object of the numbers `shape` and `texture` (N,) on each; lengths in parts of the side."""
    count, size = len(canvas), canvas.shape[-1]
    x, y = _plane(size)
    at = draw.uniform(-spread, spread, count, 2, 1, 1)
    scale = draw.uniform(*radius, count, 1, 1)
    stretch = draw.uniform(0.85, 1.18, count, 1, 1)
    u, v = _turned(x - at[:, 0], y - at[:, 1], draw, count, kind.tilt)
    u, v = u / (scale * stretch), v / (scale / stretch)
    distance = np.empty_like(u)
    for number, name in enumerate(kind.shapes):
        rows = np.flatnonzero(shape == number)
        distance[rows] = SHAPES[name](u[rows], v[rows])
    inside = np.clip(np.float32(0.5) - distance * scale * np.float32(size), 0, 1)[:, None]
    x, y = _turned(u, v, draw, count, kind.tilt)
    periods, shift = draw.uniform(1.3, 2.1, count, 1, 1), draw.uniform(0, 1, count, 2, 1, 1)
    pattern = _texture(x * periods + shift[:, 0], y * periods + shift[:, 1], texture, kind.textures)
    return canvas + inside * (_paint(pattern, draw, (0.3, 0.9), (0.3, 0.8)) - canvas)


def _with_bar(canvas: Array, draw: Draw) -> Array:
    """`canvas` with a plain bar across half of the pictures."""
    count, size = len(canvas), canvas.shape[-1]
    x, _ = _turned(*_plane(size), draw, count)
    offset, half = draw.uniform(-0.35, 0.35, count, 1, 1), draw.uniform(0.03, 0.08, count, 1, 1)
    there = (draw.integers(2, count, 1, 1) == 1).astype(np.float32)
    inside = there * np.clip(np.float32(0.5) + (half - np.abs(x - offset)) * np.float32(size), 0, 1)
    return canvas + inside[:, None] * (draw.uniform(0, 1, count, 3, 1, 1) - canvas)


def _photographed(canvas: Array, noise: float, draw: Draw) -> Array:
    """uint8 pictures: light that falls off to one side, some blur, noise, and rounding."""
    count, size = len(canvas), canvas.shape[-1]
    x, _ = _turned(*_plane(size), draw, count)
    light = draw.uniform(0.7, 1.2, count, 1, 1) + draw.uniform(0, 0.7, count, 1, 1) * x
    soft = draw.uniform(0, 0.33, count, 1, 1, 1)
    for axis in (2, 3):
        near = np.roll(canvas, 1, axis) + np.roll(canvas, -1, axis)
        canvas = canvas + soft * (near - 2 * canvas)
    canvas = canvas * light[:, None] + np.float32(noise) * draw.noise(*canvas.shape)
    return (np.clip(canvas, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
