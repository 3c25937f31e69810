"""Embedded captions: scenes of a few grouped objects on a textured ground, and five sentences of a grammar about each.

The objects are those of :mod:`suite.data.embedded.scenes`, in other pictures than a detector is trained on. Sentences say what the
objects are, how many, how large, how the groups lie, and how full the picture is, which boxes tell; and the texture of the ground
and a piece of clutter that no detector knows with its place, which only a map of the whole picture tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from suite.data.embedded.drawing import Array, Draw
from suite.data.embedded.scenes import CLUTTER, OBJECTS, SIZES, Canvas

VERSION = 1  # a change of any byte below gets a new one

COUNTS = {"train": 1500, "test": 500}
NOUNS = ("disc", "square", "cross", "ring", "triangle", "bar")  # of OBJECTS
TEXTURES = {"stripes": "striped", "checks": "checked", "dots": "dotted", "zigzag": "zigzag", "grid": "gridded", "rings": "rippled",
            "bricks": "brick", "dashes": "dashed", "plain": "plain", "wide stripes": "banded"}
EXTRAS = ("half moon", "crescent", "corner", "pair of dots")  # of CLUTTER
NUMBERS = ("no", "one", "two", "three")
RELATIONS = {"left": ("left of", "to the left of"), "right": ("right of", "to the right of"), "above": ("above", "over"),
             "below": ("below", "under")}  # fmt: skip
PLACES = {(0, 0): "top left", (0, 1): "top right", (1, 0): "bottom left", (1, 1): "bottom right"}


class Group(NamedTuple):
    """Objects of one category: its row, how many are seen, and "small", "large" or "" for neither."""

    category: int
    number: int
    size: str


class Facts(NamedTuple):
    """What the sentences of a picture are about."""

    ground: str  # a texture
    groups: tuple[Group, ...]  # one or two
    relation: str  # of the first group to the second; "" where there is one
    extra: str  # a piece of clutter, or ""
    place: str  # of the extra


class Captioned(NamedTuple):
    """A picture uint8 (H, W, 3), what is in it, and five sentences that say so."""

    pixels: Array
    facts: Facts
    captions: list[str]


def draw_captioned(split: str, count: int | None = None) -> Iterator[Captioned]:
    """The first `count` pictures of a split (all of them by default)."""
    draw = Draw(VERSION, 2018, ("train", "test").index(split))
    for number in range(COUNTS[split] if count is None else count):
        canvas, facts = _painted(number, draw)
        yield Captioned(canvas.photograph(noise=0.04), facts, sentences(facts, draw))


def _painted(number: int, draw: Draw) -> tuple[Canvas, Facts]:
    """A picture in which all that was asked for is seen: others are thrown away."""
    high, wide = SIZES[number % len(SIZES)]
    while True:
        canvas = Canvas(high, wide, draw, contrast=(0.2, 0.4))
        facts = _filled(canvas, draw)
        if facts:
            return canvas, facts


def _filled(canvas: Canvas, draw: Draw) -> Facts | None:
    high, wide = canvas.owner.shape
    first, second = draw.permutation(len(OBJECTS))[:2].tolist()
    across, before = _coin(draw), _coin(draw)
    paired = draw.integers(4, 1)[0] > 0
    extra, row, column = (int(draw.integers(below, 1)[0]) for below in (2 * len(EXTRAS), 2, 2))
    groups = []
    for place, category in enumerate((first, second)[: 1 + paired]):
        middle = [0.5, 0.5]
        if paired:
            middle[0 if across else 1] = 0.27 if before == (place == 0) else 0.73
        group = _placed(canvas, category, middle, draw)
        if group is None:
            return None
        groups.append(group)
    relation = ("left" if before else "right") if across else ("above" if before else "below")
    if extra < len(EXTRAS):
        at = _point(wide * (0.12 + 0.76 * column), high * (0.12 + 0.76 * row))
        if not canvas.place(CLUTTER[extra], at, np.full((1, 1), 0.12 * canvas.side, np.float32), (0.6, 0.8)):
            return None
    seen = EXTRAS[extra] if extra < len(EXTRAS) else ""
    return Facts(canvas.ground, tuple(groups), relation if paired else "", seen, PLACES[row, column] if seen else "")


def _placed(canvas: Canvas, category: int, middle: list[float], draw: Draw) -> Group | None:
    """One to three objects around `middle` (shares of the width and the height); None where one finds no room."""
    high, wide = canvas.owner.shape
    count = 1 + int(draw.integers(3, 1)[0])
    large = count == 1 and _coin(draw)
    radius = draw.uniform(0.19, 0.23, 1, 1) if large else draw.uniform(0.09, 0.115, 1, 1)
    for _ in range(count):
        spread = draw.uniform(-0.5, 0.5, 2) * np.float32(0.0 if count == 1 else 0.36)
        at = _point(wide * (middle[0] + float(spread[0])), high * (middle[1] + float(spread[1])))
        before = canvas.owner.copy()
        if not canvas.place(OBJECTS[category], at, radius * np.float32(canvas.side), (0.35, 0.8)) or _covers(before, canvas.owner):
            return None
    return Group(category, count, ("large" if large else "small") if count == 1 else "")


def _covers(before: Array, after: Array) -> bool:
    """Whether an object has come to lie over another one."""
    return bool(((before != 0) & (before != after)).any())


def _coin(draw: Draw) -> bool:
    return bool(draw.integers(2, 1)[0])


def _point(x: float, y: float) -> tuple[Array, Array]:
    return np.full((1, 1), x, np.float32), np.full((1, 1), y, np.float32)


def sentences(facts: Facts, draw: Draw) -> list[str]:
    """Five different ways to say it; which words stand for the same thing is drawn anew in each."""

    def any_of(*ways: str) -> str:
        return ways[int(draw.integers(len(ways), 1)[0])]

    def named(group: Group) -> str:
        noun = NOUNS[group.category]
        if group.number == 1:
            return f"{any_of('a', 'one')} {group.size} {noun}"
        return f"{NUMBERS[group.number]} {noun}{'es' if noun == 'cross' else 's'}"

    def related() -> str:
        if len(facts.groups) == 1:
            return named(facts.groups[0])
        return f"{named(facts.groups[0])} {any_of(*RELATIONS[facts.relation])} {named(facts.groups[1])}"

    def extra(joint: str) -> str:
        return f"{joint} a {facts.extra} {any_of('at the', 'in the')} {facts.place}" if facts.extra else ""

    ground = TEXTURES[facts.ground]
    total = sum(group.number for group in facts.groups)
    fullness = "a sparse" if total < 3 else "a busy" if total > 4 else "a"
    listed = " and ".join(named(group) for group in facts.groups)
    verb = "is" if facts.groups[0].number == 1 else "are"
    return [
        f"{related()} on a {ground} {any_of('ground', 'background')}{extra(' with')}.".capitalize(),
        f"There {verb} {related()} on a {ground} {any_of('ground', 'background')}.",
        f"{fullness} {ground} {any_of('picture', 'scene')} with {listed}{extra(' and')}.".capitalize(),
        f"{listed} in front of a {ground} {any_of('wall', 'background')}{extra(',')}.".capitalize(),
        f"{fullness} {any_of('picture', 'scene')} of {related()}{extra(' with')}.".capitalize(),
    ]
