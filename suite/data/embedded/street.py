"""The embedded pairs for change detection: two pictures of a rendered scene, taken at different times.

A scene is two textured grounds that meet at a horizon, and objects on a jittered 3 x 3 grid. Between the pictures objects
appear, disappear or are exchanged for others, and most stay. All else changes too, and is no change: the view moves and
zooms a little, the light differs in strength, colour and direction, and each picture has its own blur and noise. The
mask marks where a changed object is seen in either picture.

The bytes are the same on every machine, see :mod:`suite.data.embedded.drawing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from suite.data.embedded.drawing import SHAPES, TEXTURES, Array, Draw, blurred, levels, plane, rotated, shaped, textured

VERSION = 1  # a change of any byte below gets a new one

SIZE = 64
COUNTS = {"train": 800, "test": 200}
KINDS = ("appear", "disappear", "exchange")
GRID = 3
CHUNK = 50  # scenes drawn at once; part of the format
STILL, EMPTY = 3, 4  # what may be in a cell besides the kinds of change
# Shares of cells in 20ths: appear, disappear and exchange (together 5), an object that stays, nothing.
STILL_SHARE, EMPTY_SHARE = 9, 6

class DrawnPairs(NamedTuple):
    """`first` and `second` uint8 (N, S, S, 3), `mask` uint8 (N, S, S) of 0 and 255 (changed)."""

    first: np.ndarray
    second: np.ndarray
    mask: np.ndarray


class _Thing(NamedTuple):
    """An object per scene: all float32 (N, 1, 1) but the colours (N, 2, 3, 1, 1) and the numbers (N,)."""

    shape: np.ndarray
    texture: np.ndarray
    at: Array  # (N, 2, 1, 1), parts of the side
    radius: Array
    tilt: Array
    colours: Array
    periods: Array


class _View(NamedTuple):
    """Where the camera stands and how the light falls, per scene."""

    shift: Array  # (N, 2, 1, 1), parts of the side
    zoom: Array  # (N, 1, 1)
    light: Array  # (N, 3, 1, 1), per colour
    slope: Array  # (N, 2, 1, 1), of the light over the picture
    soft: Array  # (N, 1, 1, 1)


def draw_pairs(split: str, kinds: tuple[str, ...] = KINDS) -> Iterator[DrawnPairs]:
    """The pairs of a split in chunks; where something changes, it does so in one of `kinds`."""
    draw = Draw(VERSION, 2000, *(KINDS.index(kind) for kind in kinds), 10 + sorted(COUNTS).index(split))
    for _ in range(COUNTS[split] // CHUNK):
        yield _chunk(CHUNK, kinds, draw)


def _chunk(count: int, kinds: tuple[str, ...], draw: Draw) -> DrawnPairs:
    grounds = [_ground(count, draw) for _ in range(2)]
    horizon = draw.uniform(-0.25, 0.25, count, 1, 1)
    views = _view(count, 0.25, draw), _view(count, 1.0, draw)
    planes = [_seen(view) for view in views]
    canvases = [_canvas(x, y, grounds, horizon) for x, y in planes]
    masks = [np.zeros((count, SIZE, SIZE), bool) for _ in views]
    for row in range(GRID):
        for column in range(GRID):
            state = _states(count, kinds, draw)
            first, second = (_thing(count, row, column, draw) for _ in range(2))
            changes = state < STILL
            before = np.isin(state, [KINDS.index("disappear"), KINDS.index("exchange"), STILL])
            after = np.isin(state, [KINDS.index("appear"), KINDS.index("exchange"), STILL])
            later = _Thing(*(np.where(_as(state == STILL, old), old, new) for old, new in zip(first, second, strict=True)))
            for number, (thing, there) in enumerate(((first, before), (later, after))):
                x, y = planes[number]
                inside, colour = _object(x, y, thing)
                inside = inside * there.astype(np.float32)[:, None, None]
                canvases[number] = canvases[number] + inside[:, None] * (colour - canvases[number])
                hidden = inside > np.float32(0.5)
                masks[number] = np.where(hidden, changes[:, None, None], masks[number])
    pictures = [_photographed(canvas, view, draw) for canvas, view in zip(canvases, views, strict=True)]
    return DrawnPairs(pictures[0], pictures[1], (masks[0] | masks[1]).astype(np.uint8) * np.uint8(255))


def _as(chosen: np.ndarray, like: np.ndarray) -> np.ndarray:
    return chosen.reshape(-1, *[1] * (like.ndim - 1))


def _states(count: int, kinds: tuple[str, ...], draw: Draw) -> np.ndarray:
    """What each scene has in a cell, (N,): the number of a kind of change, `STILL` or `EMPTY`."""
    share, kind = draw.integers(20, count), draw.integers(len(kinds), count)
    change = np.array([KINDS.index(name) for name in kinds])[kind]
    return np.where(share < STILL_SHARE, STILL, np.where(share < STILL_SHARE + EMPTY_SHARE, EMPTY, change))


def _thing(count: int, row: int, column: int, draw: Draw) -> _Thing:
    middle = np.array([column, row], np.float32).reshape(1, 2, 1, 1) - np.float32(1)
    return _Thing(
        draw.integers(len(SHAPES), count), draw.integers(len(TEXTURES), count),
        middle * np.float32(0.31) + draw.uniform(-0.03, 0.03, count, 2, 1, 1), draw.uniform(0.075, 0.13, count, 1, 1),
        draw.uniform(-1, 1, count, 1, 1), draw.uniform(0.1, 0.9, count, 2, 3, 1, 1), draw.uniform(0.8, 1.6, count, 1, 1),
    )


def _view(count: int, strength: float, draw: Draw) -> _View:
    pixel = 1 / SIZE
    return _View(
        draw.uniform(-2.5 * pixel * strength, 2.5 * pixel * strength, count, 2, 1, 1),
        draw.uniform(1 - 0.03 * strength, 1 + 0.03 * strength, count, 1, 1),
        draw.uniform(1 - 0.3 * strength, 1 + 0.3 * strength, count, 1, 1, 1)
        * draw.uniform(1 - 0.12 * strength, 1 + 0.12 * strength, count, 3, 1, 1),
        draw.uniform(-0.5 * strength, 0.5 * strength, count, 2, 1, 1), draw.uniform(0, 0.2, count, 1, 1, 1),
    )


def _seen(view: _View) -> tuple[Array, Array]:
    """Scene coordinates (N, 1, S) and (N, S, 1) of a view's pixels, about -0.5 to 0.5."""
    x, y = plane(SIZE)
    return view.zoom * x + view.shift[:, 0], view.zoom * y + view.shift[:, 1]


def _ground(count: int, draw: Draw) -> tuple[np.ndarray, Array, Array, Array]:
    """Texture number (N,), periods (N, 1, 1), tilt (N, 1, 1) and two similar colours (N, 2, 3, 1, 1)."""
    colour, apart = draw.uniform(0.2, 0.7, count, 1, 3, 1, 1), draw.uniform(-0.12, 0.12, count, 1, 3, 1, 1)
    return (draw.integers(len(TEXTURES), count), draw.uniform(3, 7, count, 1, 1), draw.uniform(-0.4, 0.4, count, 1, 1),
            np.concatenate([colour - apart, colour + apart], 1))


def _canvas(x: Array, y: Array, grounds: list[tuple[np.ndarray, Array, Array, Array]], horizon: Array) -> Array:
    """The scene without objects, (N, 3, S, S)."""
    turned = [rotated(x, y, tilt) for _, _, tilt, _ in grounds]
    above, below = (_mixed(textured(u * periods, v * periods, texture), colours)
                    for (u, v), (texture, periods, _, colours) in zip(turned, grounds, strict=True))
    return np.where((y < horizon)[:, None], above, below)


def _object(x: Array, y: Array, thing: _Thing) -> tuple[Array, Array]:
    """How much of each pixel an object covers, 0..1 (N, S, S), and its colours (N, 3, S, S)."""
    u, v = rotated(x - thing.at[:, 0], y - thing.at[:, 1], thing.tilt)
    u, v = u / thing.radius, v / thing.radius
    inside = np.clip(np.float32(0.5) - shaped(u, v, thing.shape) * thing.radius * np.float32(SIZE), 0, 1)
    return inside, _mixed(textured(u * thing.periods, v * thing.periods, thing.texture), thing.colours)


def _mixed(pattern: Array, colours: Array) -> Array:
    """`pattern` of -1 to 1 as a mixture of two colours, (N, 3, S, S)."""
    return colours[:, 0] + (pattern[:, None] + 1) * np.float32(0.5) * (colours[:, 1] - colours[:, 0])


def _photographed(canvas: Array, view: _View, draw: Draw) -> np.ndarray:
    """uint8 (N, S, S, 3): some blur, the view's light, noise, rounding."""
    x, y = plane(SIZE)
    slope = 1 + view.slope[:, 0] * x + view.slope[:, 1] * y
    lit = blurred(canvas, view.soft) * view.light * slope[:, None] + np.float32(0.03) * draw.noise(*canvas.shape)
    return np.ascontiguousarray(levels(lit).transpose(0, 2, 3, 1))
