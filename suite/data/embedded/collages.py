"""The embedded collages for instance search: the same rigid objects again and again, in other poses, light and company.

An object is two blocks or discs over each other with a notch, each part with colours and a pattern of its own: all of that is
fixed, so that one object is the same everywhere, and none has silhouette and texture of a class of the embedded photographs. A
collage shows some objects, rotated, scaled and seen from aside, partly behind each other, on a textured ground among pieces of
clutter that are objects nobody looks for. A query shows one object, in a collage of its own.

Settings of methods are chosen on collages of other objects, ``"val_gallery"`` and ``"val_queries"``, which are in no data set.

The bytes are the same on every machine, see :mod:`suite.data.embedded.drawing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from suite.data.embedded.drawing import TEXTURES, Array, Draw, rotated
from suite.data.embedded.scenes import Canvas

VERSION = 1  # a change of any byte below gets a new one

OBJECTS = 40
QUERIES = 2  # of each object
GALLERY = 320  # collages
SIZES = ((224, 256), (256, 224), (240, 240), (224, 240))  # height and width in pixels
PATTERNS = tuple(TEXTURES)
SHOWN = 3  # objects of a collage at most
TILT = 0.25  # tangent of half the greatest rotation: 28 degrees
FORESHORTENED = 0.22  # how much nearer one end of an object may be than its middle, as a share of the distance
RADII = {"gallery": (0.16, 0.3), "queries": (0.2, 0.3), "clutter": (0.03, 0.06)}  # in parts of the shorter side
CLUTTER = 4
SPLITS = ("gallery", "queries", "val_gallery", "val_queries")


class Part(NamedTuple):
    """A block or disc of an object, in coordinates in which the object is about 1 in radius."""

    round: bool
    at: Array  # (2, 1, 1)
    half: Array  # (2, 1, 1): half its width and height
    turn: Array  # (1, 1): the tangent of half its rotation
    pattern: str
    grain: Array  # (3, 1, 1): periods of the pattern, and where it begins
    colours: tuple[Array, Array]  # (3, 1, 1) each


class Thing(NamedTuple):
    """An object: its parts, the later ones over the earlier, and the notch in them."""

    body: tuple[Part, ...]
    notch: Part


class Collage(NamedTuple):
    """A picture uint8 (H, W, 3), and the objects in it with boxes around what is seen: left, top, width, height in pixels."""

    pixels: Array
    objects: list[tuple[int, tuple[int, int, int, int]]]


def draw_collages(split: str, count: int | None = None) -> Iterator[Collage]:
    """The first `count` collages of one of `SPLITS` (all of them by default).

    A query's first object is the one to look for; they go through the objects `QUERIES` times. The objects of ``val_`` are others.
    """
    draw, kind = Draw(VERSION, 160, SPLITS.index(split)), split.removeprefix("val_")
    things = thing_list(val=kind != split)
    total = {"gallery": GALLERY, "queries": OBJECTS * QUERIES}[kind]
    for number in range(total if count is None else count):
        shown = 1 + int(draw.integers(SHOWN, 1)[0]) if kind == "gallery" else 1
        first = number % OBJECTS
        others = draw.permutation(OBJECTS)[: SHOWN - 1].tolist()
        wanted = [first, *(item for item in others if item != first)][:shown]
        yield _collage(number, [(item, things[item]) for item in wanted], RADII[kind], draw)


def thing_list(val: bool) -> list[Thing]:
    """The `OBJECTS` objects that are looked for, or those that settings are chosen on."""
    return [_thing(Draw(VERSION, 335, OBJECTS * val + number)) for number in range(OBJECTS)]


def _collage(number: int, wanted: list[tuple[int, Thing]], radii: tuple[float, float], draw: Draw) -> Collage:
    canvas = _Collage(*SIZES[number % len(SIZES)], draw, contrast=(0.1, 0.4))
    for _ in range(CLUTTER):
        canvas.paste(_thing(draw), RADII["clutter"], reach=0.46)
    canvas.forget()
    placed = {}
    for item, thing in wanted:
        for _ in range(20):  # places tried
            if owner := canvas.paste(thing, radii, reach=0.3):
                placed[item] = owner
                break
    for _ in range(2):  # pieces that may hide something
        canvas.paste(_thing(draw), RADII["clutter"], reach=0.46)
    return Collage(canvas.photograph(noise=0.03), [(item, _box(canvas.mask(owner))) for item, owner in placed.items()])


class _Collage(Canvas):
    """A canvas on which rigid objects are pasted."""

    def paste(self, thing: Thing, radii: tuple[float, float], reach: float) -> int:
        """`thing` in a random pose; its number, or 0 where too little of it or of what it covers would be seen."""
        draw, (high, wide) = self.draw, self.owner.shape
        radius = draw.uniform(*radii, 1, 1) * np.float32(self.side)
        where = np.float32(0.5) + np.float32(reach) * draw.uniform(-1, 1, 2, 1, 1)
        turn, lean = draw.uniform(-TILT, TILT, 1, 1), draw.uniform(-FORESHORTENED, FORESHORTENED, 2, 1, 1)
        at = where[0] * np.float32(wide), where[1] * np.float32(high)
        left, right = (int(np.clip(edge, 0, wide).item()) for edge in (at[0] - 2 * radius, at[0] + 2 * radius + 1))
        top, bottom = (int(np.clip(edge, 0, high).item()) for edge in (at[1] - 2 * radius, at[1] + 2 * radius + 1))
        x = np.arange(left, right, dtype=np.float32)[None] + np.float32(0.5) - at[0]
        y = np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5) - at[1]
        u, v = rotated(x / radius, y / radius, turn)
        depth = 1 + lean[0] * u + lean[1] * v  # of corners 2 from the middle in both: above 0
        colours, distance = _painted(thing, u / depth, v / depth)
        mask, window = distance < 0, np.s_[top:bottom, left:right]
        if not self._may(mask, window):
            return 0
        inside = np.clip(np.float32(0.5) - distance * radius, 0, 1)
        self.pixels[:, *window] += inside * (colours - self.pixels[:, *window])
        self.owner[window][mask] = len(self.sizes)
        self.sizes.append(int(mask.sum()))
        return len(self.sizes) - 1


def _painted(thing: Thing, u: Array, v: Array) -> tuple[Array, Array]:
    """The colours (3, H, W) of an object at u, v, and the distance to its outline, below 0 inside."""
    outline = np.full_like(u, 9)
    colours = np.zeros((3, *u.shape), np.float32)
    for part in thing.body:
        distance, paint = _part(part, u, v)
        colours = np.where((distance < 0) | (distance < outline), paint, colours)
        outline = np.minimum(outline, distance)
    return colours, np.maximum(outline, -_part(thing.notch, u, v)[0])


def _part(part: Part, u: Array, v: Array) -> tuple[Array, Array]:
    """The distance to a part's outline and its paint (3, H, W)."""
    u, v = rotated(u - part.at[0], v - part.at[1], part.turn)
    if part.round:
        p, q = u / part.half[0], v / part.half[1]
        distance = (np.sqrt(p * p + q * q) - 1) * np.minimum(part.half[0], part.half[1])
    else:
        distance = np.maximum(np.abs(u) - part.half[0], np.abs(v) - part.half[1])
    pattern = TEXTURES[part.pattern](u * part.grain[0] + part.grain[1], v * part.grain[0] + part.grain[2])
    mean, apart = part.colours
    return distance, mean + np.float32(0.5) * apart * pattern


def _thing(draw: Draw) -> Thing:
    body = _made(draw, 0.0, (0.6, 0.9)), _made(draw, 0.6, (0.3, 0.5))
    return Thing(body, _made(draw, 0.9, (0.2, 0.35)))


def _made(draw: Draw, away: float, halves: tuple[float, float]) -> Part:
    """A random part, its middle `away` from the object's at most."""
    sign = np.where(draw.integers(2, 1, 1, 1) == 1, np.float32(1), np.float32(-1))
    return Part(
        round=bool(draw.integers(2, 1)[0]), at=draw.uniform(-away, away, 2, 1, 1), half=draw.uniform(*halves, 2, 1, 1),
        turn=draw.uniform(-1, 1, 1, 1), pattern=PATTERNS[int(draw.integers(len(PATTERNS), 1)[0])],
        grain=np.concatenate([draw.uniform(1.5, 4.5, 1, 1, 1), draw.uniform(0, 1, 2, 1, 1)]),
        colours=(draw.uniform(0.1, 0.9, 3, 1, 1), sign * draw.uniform(0.4, 0.9, 3, 1, 1)),
    )


def _box(mask: Array) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1))
