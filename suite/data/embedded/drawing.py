"""What all generators draw with: random numbers, silhouettes, textures, and how they come onto a canvas.

The bytes must be the same on every machine. Hence numbers come from PCG64's raw output (the one stream that NumPy
promises never to change), and pixels from +, -, *, / and square roots, which IEEE 754 rounds exactly; no sine, no
matrix product, no sum of floats.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

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


def plane(size: int) -> tuple[Array, Array]:
    """Coordinates (1, S) and (S, 1) of the pixels' centres, from -0.5 to 0.5."""
    line = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size) - np.float32(0.5)
    return line[None, :], line[:, None]


def cosine_sine(t: Array) -> tuple[Array, Array]:
    """Of the angle whose half has the tangent `t`, as there is no exact sine."""
    return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)


def rotated(x: Array, y: Array, t: Array) -> tuple[Array, Array]:
    """`x` and `y` rotated by the angle whose half has the tangent `t` (N, 1, 1), (N, S, S) each."""
    cos, sin = cosine_sine(t)
    return cos * x + sin * y, cos * y - sin * x


def turned(x: Array, y: Array, draw: Draw, count: int, tilt: float = 1.0) -> tuple[Array, Array]:
    """`x` and `y` rotated by a random angle for each of `count` pictures, (N, S, S).

    `tilt` is the tangent of half the greatest rotation; 1 is any rotation.
    """
    t = draw.uniform(-tilt, tilt, count, 1, 1)  # -90 to 90 degrees for 1
    over = (draw.integers(2, count, 1, 1) == 1) & (tilt == 1)
    back = np.where(over, np.float32(-1), np.float32(1))
    u, v = rotated(x, y, t)
    return back * u, back * v


def textured(x: Array, y: Array, which: np.ndarray, names: tuple[str, ...] = tuple(TEXTURES)) -> Array:
    """The texture ``names[which]`` of each picture, `which` (N,), at x, y (N, S, S) in periods."""
    out = np.empty_like(x)
    for number, name in enumerate(names):
        rows = np.flatnonzero(which == number)
        out[rows] = TEXTURES[name](x[rows], y[rows])
    return out


def shaped(u: Array, v: Array, which: np.ndarray, names: tuple[str, ...] = tuple(SHAPES)) -> Array:
    """The distance to the outline of the silhouette ``names[which]`` of each picture, `which` (N,), at u, v (N, S, S)."""
    out = np.empty_like(u)
    for number, name in enumerate(names):
        rows = np.flatnonzero(which == number)
        out[rows] = SHAPES[name](u[rows], v[rows])
    return out


def painted(pattern: Array, draw: Draw, middle: tuple[float, float], contrast: tuple[float, float]) -> Array:
    """`pattern` (N, S, S) of -1 to 1 as a mixture of two random colours, (N, 3, S, S).

    In each channel their mean lies in `middle` and their difference in `contrast`, with any sign.
    """
    count = len(pattern)
    mean = draw.uniform(*middle, count, 3, 1, 1)
    sign = np.where(draw.integers(2, count, 3, 1, 1) == 1, np.float32(1), np.float32(-1))
    apart = sign * draw.uniform(*contrast, count, 3, 1, 1)
    return mean + np.float32(0.5) * apart * pattern[:, None]


def blurred(canvas: Array, soft: Array) -> Array:
    """`canvas` (N, 3, S, S) with the share `soft` (N, 1, 1, 1) of each neighbour mixed in, across and down."""
    for axis in (2, 3):
        near = np.roll(canvas, 1, axis) + np.roll(canvas, -1, axis)
        canvas = canvas + soft * (near - 2 * canvas)
    return canvas


def levels(canvas: Array) -> np.ndarray:
    """`canvas` of 0 to 1, cut off there, as uint8."""
    return (np.clip(canvas, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
