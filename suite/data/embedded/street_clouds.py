"""The embedded street scenes for 3D detection: what a lidar on a car's roof measures, and what a camera below it sees.

A street runs ahead, with cars, vans and trucks driving and parked, people and cyclists beside and on it, walls and poles. Each is
made of a few upright blocks, and each ray of the lidar (40 beams over 84 degrees ahead) ends at the nearest block or on the ground,
so that things hide each other and are hit less often far away. Frames are told apart by time of day, weather and density: at night
two of three returns are lost and distances are noisier, in rain drops are hit near the lidar; a dense frame has many objects.

The bytes must be the same on every machine: as in :mod:`suite.data.embedded.drawing`, numbers are PCG64's raw output and points
come from +, -, *, / of float64 and from sines that are rounded to six digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from suite.data.embedded.drawing import Draw, levels

VERSION = 1  # a change of any byte below gets a new one

COUNTS = {"train": 320, "test": 120}
GROUND = -1.73  # metres below the lidar
FOCAL, WIDE, HIGH = 360.0, 621, 188  # half of KITTI's picture
CAMERA = np.array([0.27, 0.0, -0.08])  # where it is, from the lidar
PROJECTION = np.array([[FOCAL, 0, WIDE / 2, 0], [0, FOCAL, HIGH / 2, 0], [0, 0, 1, 0]])
FORWARD = np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.08], [1, 0, 0, -0.27]])  # the lidar's coordinates to the camera's
BEAMS, COLUMNS = 40, 241
SPREAD = 42  # degrees to either side
FARTHEST = 60.0  # metres that a ray reaches
CORNERS = np.array([[0, 1] * 4, [2, 2, 3, 3] * 2, [4] * 4 + [5] * 4])  # of a block, by its bounds
TRIES = 150  # places looked at for the objects of a frame
NEAREST = 2.5  # metres: no object is nearer
OBJECTS = {"low": (3, 7), "high": (16, 20)}  # of a frame, at least and at most
SHARES = {"Car": 60, "Pedestrian": 15, "Cyclist": 13, "Van": 7, "Truck": 5}  # of a hundred objects


class Kind(NamedTuple):
    """Length, width and height in metres, the share by which they vary, and blocks in shares: x, y from -0.5, z from 0."""

    size: tuple[float, float, float]
    spread: float
    blocks: tuple[tuple[float, float, float, float, float, float], ...]  # x from, to, y from, to, z from, to


KINDS = {
    "Car": Kind((4.0, 1.65, 1.52), 0.1, ((-0.5, 0.5, -0.5, 0.5, 0.12, 0.62), (-0.42, 0.18, -0.45, 0.45, 0.62, 1.0))),
    "Van": Kind((4.9, 1.9, 2.2), 0.1, ((-0.5, 0.36, -0.5, 0.5, 0.1, 1.0), (0.36, 0.5, -0.5, 0.5, 0.1, 0.5))),
    "Truck": Kind((7.5, 2.5, 3.1), 0.1, ((0.32, 0.5, -0.5, 0.5, 0.12, 0.8), (-0.5, 0.29, -0.5, 0.5, 0.25, 1.0))),
    "Pedestrian": Kind((0.8, 0.6, 1.74), 0.12, (
        (-0.5, 0.5, -0.3, 0.3, 0.0, 0.5), (-0.3, 0.3, -0.5, 0.5, 0.45, 0.85), (-0.18, 0.18, -0.22, 0.22, 0.85, 1.0))),
    "Cyclist": Kind((1.76, 0.6, 1.73), 0.08, ((-0.5, 0.5, -0.12, 0.12, 0.0, 0.58), (-0.28, 0.12, -0.5, 0.5, 0.45, 1.0))),
}


class Block(NamedTuple):
    """An upright block: its thing's place and direction, its bounds along and across from there, its height, brightness, owner."""

    x: float
    y: float
    cos: float
    sin: float
    bounds: tuple[float, float, float, float, float, float]  # metres; z from the lidar
    albedo: float
    owner: int  # the object's row, -1 for scenery


class StreetScene(NamedTuple):
    """A frame. `boxes` (n, 7) are x, y, z of the middle, length, width, height, angle from x, anticlockwise; `visible` (n,) is the
    share of an object's rays that nothing hides, and `hits` (n,) the number of rays it would have alone."""

    points: np.ndarray  # float32 (m, 4): x, y, z from the lidar, reflectance
    picture: np.ndarray  # uint8 (HIGH, WIDE)
    kinds: list[str]
    boxes: np.ndarray
    visible: np.ndarray
    hits: np.ndarray
    attributes: dict[str, str]


def draw_scenes(split: str, count: int | None = None) -> Iterator[StreetScene]:
    """The first `count` frames of a split, or all."""
    draw = Draw(VERSION, 9000, sorted(COUNTS).index(split))
    for _ in range(COUNTS[split] if count is None else count):
        yield _scene(draw)


def _scene(draw: Draw) -> StreetScene:
    attributes = {name: values[int(draw.integers(len(values), 1)[0])] for name, values in
                  (("time", ("day", "night")), ("weather", ("sun", "cloud", "rain")), ("density", ("low", "high")))}
    kinds, boxes = _placed(draw, *OBJECTS[attributes["density"]])
    blocks = _blocks(kinds, boxes, draw) + _scenery(draw)
    rays = _rays()
    shape = rays.shape[:2]
    ground = np.minimum(FARTHEST, GROUND / np.minimum(rays[..., 2], GROUND / FARTHEST))
    reach, owner, albedo = ground.copy(), np.full(shape, -1), np.full(shape, 0.25)
    alone = np.zeros((len(kinds), *shape), bool)
    for block in blocks:
        part = slice(None), _columns(block)
        far, _ = _entered(np.zeros(3), rays[part], block)
        if block.owner >= 0:
            alone[block.owner][part] |= far < ground[part]
        nearer = far < reach[part]
        for values, new in ((owner, block.owner), (albedo, block.albedo), (reach, far[nearer])):
            values[part][nearer] = new
    hits = alone.sum((1, 2))
    seen = np.bincount(owner[owner >= 0], minlength=len(kinds))
    points = _measured(rays.reshape(-1, 3), reach.ravel(), albedo.ravel(), attributes, draw)
    picture = _photographed(blocks, attributes, draw)
    return StreetScene(points, picture, kinds, boxes, seen / np.maximum(hits, 1), hits, attributes)


def _sines(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines with six digits, which every machine gets alike."""
    return np.round(np.cos(angles), 6), np.round(np.sin(angles), 6)


@cache
def _rays() -> np.ndarray:
    """The lidar's directions (BEAMS, COLUMNS, 3), from left to right."""
    flat, up = np.radians(np.linspace(SPREAD, -SPREAD, COLUMNS)), np.radians(np.linspace(2, -24, BEAMS))
    (cos, sin), (level, rise) = _sines(flat), _sines(up)
    grid = [level[:, None] * cos, level[:, None] * sin, np.broadcast_to(rise[:, None], (BEAMS, COLUMNS))]
    return np.stack(grid, axis=2)


@cache
def _pixels() -> np.ndarray:
    """The directions in which the camera sees, (HIGH, WIDE, 3)."""
    across, down = (WIDE / 2 - 0.5 - np.arange(WIDE)) / FOCAL, (HIGH / 2 - 0.5 - np.arange(HIGH)) / FOCAL
    return np.stack(np.broadcast_arrays(1.0, across[None], down[:, None]), axis=2)


def _placed(draw: Draw, least: int, most: int) -> tuple[list[str], np.ndarray]:
    """Objects that stand apart from each other, in the camera's view, as many as drawn or as fit: kinds and boxes (n, 7)."""
    wanted = least + int(draw.integers(most - least + 1, 1)[0])
    names = [name for name, share in SHARES.items() for _ in range(share)]
    kinds: list[str] = []
    boxes = np.zeros((0, 7))
    for _ in range(TRIES):
        if len(kinds) == wanted:
            break
        name = names[int(draw.integers(100, 1)[0])]
        box = _anywhere(name, draw)
        apart = box + np.array([0, 0, 0, 0.6, 0.6, 0, 0])
        ahead = box[0] - np.sqrt(box[3] * box[3] + box[4] * box[4]) / 2 > NEAREST
        if ahead and abs(box[1]) < 0.85 * (box[0] - CAMERA[0]) and not _meet(apart, boxes).any():
            kinds.append(name)
            boxes = np.concatenate([boxes, box[None]])
    return kinds, boxes


def _meet(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Which of `boxes` (n, 7) share ground with `box` (7,): those whose shadows on the sides of both all overlap."""
    both = np.stack(np.broadcast_arrays(box, boxes))
    cos, sin = _sines(both[..., 6])
    u, v = np.concatenate([cos, -sin])[:, None], np.concatenate([sin, cos])[:, None]  # along and across, of both: (4, 1, n)
    sides = np.abs(u * cos + v * sin) * both[..., 3] / 2 + np.abs(v * cos - u * sin) * both[..., 4] / 2  # (4, 2, n)
    away = np.abs(u[:, 0] * (boxes[:, 0] - box[0]) + v[:, 0] * (boxes[:, 1] - box[1]))
    return (away < sides[:, 0] + sides[:, 1]).all(0)


def _anywhere(name: str, draw: Draw) -> np.ndarray:
    """A box in hundredths of a metre and radian: vehicles along the street or across it, people anywhere beside it."""
    size = np.array(KINDS[name].size) * (1 + KINDS[name].spread * draw.uniform(-1, 1, 3).astype(float))
    walking = name == "Pedestrian"
    x, place, turn, side, back = draw.uniform(0, 1, 5).astype(float)
    lateral = (2.5 + 7 * place) if walking else (4.7 + 1.5 * place) if turn < 0.5 else 3.6 * place
    angle = 2 * turn * np.pi if walking or place > 0.8 else 0.15 * (place - 0.4) + np.pi * (back < 0.5)
    box = np.array([4.5 + 21 * x, lateral if side < 0.5 else -lateral, 0, *size, angle])
    box = np.round(box, 2)
    box[2] = np.round(GROUND + box[5] / 2, 3)
    return box


def _blocks(kinds: list[str], boxes: np.ndarray, draw: Draw) -> list[Block]:
    blocks = []
    brightness = draw.uniform(0.15, 0.9, len(kinds)).astype(float)
    cos, sin = _sines(boxes[:, 6])
    for row, (name, box) in enumerate(zip(kinds, boxes, strict=True)):
        for share in KINDS[name].blocks:
            bounds = np.array(share) * box[3:6].repeat(2) + np.array([0, 0, 0, 0, GROUND, GROUND])
            blocks.append(Block(box[0], box[1], cos[row], sin[row], tuple(bounds), brightness[row], row))
    return blocks


def _scenery(draw: Draw) -> list[Block]:
    """Walls with gaps on both sides, and a few poles and bushes."""
    blocks = []
    for side in (-1, 1):
        start = 2.0
        while start < 55:
            long, gap, back, high = draw.uniform(0, 1, 4).astype(float)
            end = start + 4 + 10 * long
            middle = side * (11.5 + 2 * back)
            blocks.append(Block(0, middle, 1, 0, (start, end, -0.5, 0.5, GROUND, GROUND + 2 + 4 * high), 0.3 + 0.4 * back, -1))
            start = end + 0.5 + 5 * gap
    for x, y, wide, high, side, albedo in draw.uniform(0, 1, 4 + int(draw.integers(5, 1)[0]), 6).astype(float):
        half = 0.08 if wide < 0.6 else 0.2 + wide / 2
        top = GROUND + (3 + 2 * high if wide < 0.6 else 0.6 + high)
        middle = (8.2 + 1.5 * y) * (1 if side < 0.5 else -1)
        blocks.append(Block(6 + 30 * x, middle, 1, 0, (-half, half, -half, half, GROUND, top), 0.2 + 0.4 * albedo, -1))
    return blocks


def _entered(origin: np.ndarray, rays: np.ndarray, block: Block) -> tuple[np.ndarray, np.ndarray]:
    """How far along each of `rays` (..., 3) from `origin` a block is entered, infinity where it is not; and across which axis."""
    x, y = origin[0] - block.x, origin[1] - block.y
    start = block.cos * x + block.sin * y, block.cos * y - block.sin * x, origin[2]
    way = block.cos * rays[..., 0] + block.sin * rays[..., 1], block.cos * rays[..., 1] - block.sin * rays[..., 0], rays[..., 2]
    shape = rays.shape[:-1]
    near, far, face = np.zeros(shape), np.full(shape, np.inf), np.zeros(shape, np.int64)
    for axis in range(3):
        step = np.where(np.abs(way[axis]) < 1e-9, 1e-9, way[axis])
        first, second = ((block.bounds[2 * axis + end] - start[axis]) / step for end in (0, 1))
        inner = np.minimum(first, second)
        face = np.where(inner > near, axis, face)
        near, far = np.maximum(near, inner), np.minimum(far, np.maximum(first, second))
    return np.where((near < far) & (near > 0), near, np.inf), face


def _measured(rays: np.ndarray, reach: np.ndarray, albedo: np.ndarray, attributes: dict[str, str], draw: Draw) -> np.ndarray:
    """The points of those rays that come back."""
    night, rain = attributes["time"] == "night", attributes["weather"] == "rain"
    count = len(rays)
    chance, drop, nearby = draw.uniform(0, 1, 3, count).astype(float)
    wet = (drop < 0.02) & rain
    reach = np.where(wet, np.minimum(reach, 1.5 + 8 * nearby), reach)
    reach = reach + np.where(reach < FARTHEST, (0.06 if night else 0.02) * draw.noise(count).astype(float), 0)
    kept = chance < (0.36 if night else 0.97) * (0.85 if rain else 1) * np.minimum(1, 0.75 + albedo)
    back = kept & (reach < FARTHEST)
    shine = np.clip(np.where(wet, 0.05, albedo) + 0.04 * draw.noise(count).astype(float), 0, 0.99)
    return np.column_stack([rays * reach[:, None], np.round(shine, 2)])[back].astype(np.float32)


def _photographed(blocks: list[Block], attributes: dict[str, str], draw: Draw) -> np.ndarray:
    """The camera's grey picture: the nearest block in each pixel, its sides of different brightness."""
    rays = _pixels()
    depth = np.full((HIGH, WIDE), np.inf)
    canvas = np.where(rays[..., 2] > 0, 0.8, 0.35)
    for block in blocks:
        rows, columns = _window(block)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        far, face = _entered(CAMERA, rays[rows, columns], block)
        nearer = far < depth[rows, columns]
        depth[rows, columns][nearer] = far[nearer]
        canvas[rows, columns][nearer] = (block.albedo * np.array([0.75, 0.95, 1.1])[face])[nearer]
    light = {"sun": 1.0, "cloud": 0.8, "rain": 0.65}[attributes["weather"]] * (0.25 if attributes["time"] == "night" else 1)
    return levels((canvas * light).astype(np.float32) + np.float32(0.02) * draw.noise(HIGH, WIDE))


def _columns(block: Block) -> slice:
    """The lidar's columns that a block may be hit in."""
    x, y, _ = _ends(block)
    if x.min() <= 0:
        return slice(0, COLUMNS)
    places = (SPREAD - np.degrees(np.arctan2(y, x))) * (COLUMNS - 1) / (2 * SPREAD)
    return slice(max(0, int(places.min()) - 1), max(0, min(COLUMNS, int(places.max()) + 3)))


def _window(block: Block) -> tuple[slice, slice]:
    """The rows and columns of the picture that a block may be seen in."""
    x, y, z = _ends(block) - CAMERA[:, None]
    if x.max() <= 0:
        return slice(0, 0), slice(0, 0)
    x = np.maximum(x, 0.05)
    columns, rows = WIDE / 2 - FOCAL * y / x, HIGH / 2 - FOCAL * z / x
    return (slice(max(0, int(rows.min()) - 1), min(HIGH, int(rows.max()) + 2)),
            slice(max(0, int(columns.min()) - 1), min(WIDE, int(columns.max()) + 2)))


def _ends(block: Block) -> np.ndarray:
    """A block's eight corners (3, 8) from the lidar."""
    u, v, z = np.array(block.bounds)[CORNERS]
    return np.stack([block.x + block.cos * u - block.sin * v, block.y + block.sin * u + block.cos * v, z])
