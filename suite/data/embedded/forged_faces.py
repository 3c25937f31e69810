"""Embedded faces: short sequences of rendered people, and four ways to forge them, with masks.

A person has a skin, hair, eyes, brows, a mouth, perhaps a beard, a plain background, and a camera with its own blur, light and
noise; from frame to frame the head moves and the mouth opens. A forgery changes a part of a frame that the camera has taken:

==============  ==================================================================================================================
Deepfakes       the inner face of another person, at half the resolution and enlarged: frequencies are missing or repeat
FaceSwap        the inner face of another person by a noisier camera, off the skin's colour, with a narrow blending border
Face2Face       the lower face is the frame's own, warped and softened, so that its noise is interpolated
NeuralTextures  the mouth's surroundings are rendered anew, with a renderer's checkerboard instead of the camera's noise and blur
==============  ==================================================================================================================

How much of these traces shows differs from frame to frame, from none to all, and strong compression hides more of them: some
forgeries cannot be told by anybody. The warp of Face2Face always shows, as it moves mouth and eyes: it is the easiest of the four.
Scaling a face would hide traces too, hence crops by the given boxes have the frames' own pixels.

The bytes are the same on every machine, see :mod:`suite.data.embedded.drawing`; so are those of the JPEG coding behind them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from suite.data.embedded.drawing import Array, Draw, blurred, levels, plane, rotated

VERSION = 1  # a change of any byte below gets a new one

SIZE = 48
PEOPLE = {"train": 160, "val": 40, "test": 60}  # each with one original sequence, and one forgery of each kind
FRAMES = {"train": 2, "val": 2, "test": 3}
QUALITIES = {"c23": 90, "c40": 60}  # of JPEG, in place of H.264's rate factors
KINDS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
CHUNK = 20  # people drawn at once, an even number; part of the format
Number = Array | float
BOX = (5, 5, 42, 42)  # of every face, as a tracker gives it; with the usual margin of 1.3 it is the frame
WIDE, HIGH = 0.27, 0.36  # half axes of a head, parts of the frame's side


class Person(NamedTuple):
    """What people differ in: numbers (N, 1, 1) in parts of the head's half axes, colours (N, 3, 1, 1)."""

    skin: Array
    hair: Array
    lips: Array
    iris: Array
    eyes: Array  # half their distance
    eye_size: Array
    brow: Array  # its height above the eye
    nose: Array
    mouth: Array  # half its width
    beard: Array  # how much of it there is, 0 for most
    grounds: Array  # colours at the left and at the right of the background, (N, 2, 3, 1, 1)


class Camera(NamedTuple):
    """How a sequence is photographed."""

    blur: Array  # (N, 1, 1, 1)
    noise: Array  # (N, 1, 1, 1), its deviation
    slope: Array  # (N, 2, 1, 1), of the light over the picture


class Pose(NamedTuple):
    """The head in one frame, (N, 1, 1) each; a `mouth` of 1 is wide open."""

    x: Array
    y: Array
    zoom: Array
    tilt: Array
    mouth: Array

    def seen(self) -> tuple[Array, Array]:
        """The frame's pixels in the head's coordinates, (N, S, S), 1 at the ends of its half axes."""
        x, y = plane(SIZE)
        u, v = rotated(x - self.x, y - self.y, self.tilt)
        return u / (self.zoom * np.float32(WIDE)), v / (self.zoom * np.float32(HIGH))


class Sequence(NamedTuple):
    """A video's frames. `source` is the number of the person whose face it shows, where that is another than `person`."""

    kind: str  # of forgery; "" for an original
    person: int
    source: int | None
    frames: Array  # uint8 (F, S, S, 3)
    masks: Array  # uint8 (F, S, S), 255 where it is forged
    boxes: np.ndarray  # int (F, 4): left, top, right, bottom around the head, in pixels


def draw_sequences(split: str) -> Iterator[Sequence]:
    """The original and all forgeries of each person of a split, before compression; persons 2 k and 2 k + 1 are a pair."""
    draw = Draw(VERSION, 2019, list(PEOPLE).index(split))
    first = sum(number for name, number in PEOPLE.items() if list(PEOPLE).index(name) < list(PEOPLE).index(split))
    for start in range(first, first + PEOPLE[split], CHUNK):
        people, camera = _people(draw), _camera(draw)
        drawn = [_frames(people, camera, draw) for _ in range(FRAMES[split])]
        for row in range(CHUNK):
            for kind in ("", *KINDS):
                pixels, masks = (np.stack([found[kind][part][row] for found in drawn]) for part in (0, 1))
                source = (start + row) ^ 1 if kind else None
                yield Sequence(kind, start + row, source, pixels, masks, np.array([BOX] * FRAMES[split]))


def _people(draw: Draw) -> Person:
    def number(low: float, high: float) -> Array:
        return draw.uniform(low, high, CHUNK, 1, 1)

    tone = draw.uniform(0.35, 0.85, CHUNK, 1, 1, 1)
    skin = tone * (np.array([1.0, 0.78, 0.64], np.float32).reshape(3, 1, 1) + draw.uniform(-0.05, 0.05, CHUNK, 3, 1, 1))
    dark = draw.uniform(0.05, 0.5, CHUNK, 1, 1, 1) * np.array([1.0, 0.8, 0.6], np.float32).reshape(3, 1, 1)
    lips = skin * np.array([0.95, 0.6, 0.6], np.float32).reshape(3, 1, 1)
    bearded = draw.integers(4, CHUNK, 1, 1) == 0
    return Person(
        skin, dark, lips, draw.uniform(0.1, 0.5, CHUNK, 3, 1, 1), number(0.36, 0.48), number(0.13, 0.19), number(0.17, 0.26),
        number(0.2, 0.34), number(0.28, 0.46), np.where(bearded, number(0.3, 0.8), np.float32(0)),
        draw.uniform(0.2, 0.8, CHUNK, 2, 3, 1, 1))


def _camera(draw: Draw) -> Camera:
    return Camera(draw.uniform(0.0, 0.06, CHUNK, 1, 1, 1), draw.uniform(0.03, 0.04, CHUNK, 1, 1, 1),
                  draw.uniform(-0.3, 0.3, CHUNK, 2, 1, 1))


def _frames(people: Person, camera: Camera, draw: Draw) -> dict[str, tuple[Array, Array]]:
    """One frame of each person: pixels uint8 (N, S, S, 3) and masks uint8 (N, S, S) by kind of forgery."""
    pose = Pose(*(draw.uniform(low, high, CHUNK, 1, 1) for low, high in
                  ((-0.06, 0.06), (-0.05, 0.07), (0.88, 1.12), (-0.09, 0.09), (0, 1))))
    real = _photographed(_scene(people, pose), camera, draw)
    other = Person(*(part[np.arange(CHUNK) ^ 1] for part in people))
    found = {"": (_bytes(real), np.zeros((CHUNK, SIZE, SIZE), np.uint8))}
    for kind, forge in zip(KINDS, (_deepfake, _warped, _swapped, _rendered), strict=True):
        content, inside = forge(real, people, other, pose, camera, draw)
        forged = real + inside[:, None] * (content - real)
        found[kind] = _bytes(forged), np.where(inside > np.float32(0.5), 255, 0).astype(np.uint8)
    return found


def _bytes(canvas: Array) -> Array:
    return np.ascontiguousarray(levels(canvas).transpose(0, 2, 3, 1))


def _photographed(scene: Array, camera: Camera, draw: Draw) -> Array:
    return _lit(blurred(scene, camera.blur), camera) + camera.noise * draw.noise(*scene.shape)


def _lit(scene: Array, camera: Camera) -> Array:
    x, y = plane(SIZE)
    return scene * (1 + camera.slope[:, 0] * x + camera.slope[:, 1] * y)[:, None]


# Forgeries: the content float32 (N, 3, S, S) and how much of it each pixel has, 0 to 1 (N, S, S).


def _deepfake(real: Array, people: Person, other: Person, pose: Pose, camera: Camera, draw: Draw) -> tuple[Array, Array]:
    fine = _photographed(_scene(other._replace(skin=people.skin, lips=people.lips), pose), camera, draw)
    small = (fine[:, :, ::2, ::2] + fine[:, :, 1::2, ::2] + fine[:, :, ::2, 1::2] + fine[:, :, 1::2, 1::2]) * np.float32(0.25)
    coarse = np.repeat(np.repeat(small, 2, 2), 2, 3)
    u, v = pose.seen()
    return fine + _crudeness(draw) * (coarse - fine), _within(u, v, 0.0, 0.08, 0.74, 0.72, soft=2.0)


def _swapped(real: Array, people: Person, other: Person, pose: Pose, camera: Camera, draw: Draw) -> tuple[Array, Array]:
    crudeness, sign = _crudeness(draw), (2 * draw.integers(2, CHUNK, 3, 1, 1) - 1).astype(np.float32)
    skin = people.skin + np.float32(0.12) * crudeness * sign
    face = _photographed(_scene(other._replace(skin=skin), pose), camera._replace(noise=(1 + crudeness) * camera.noise), draw)
    u, v = pose.seen()
    return face, _within(u, v, 0.0, 0.1, 0.7, 0.68)


def _warped(real: Array, people: Person, other: Person, pose: Pose, camera: Camera, draw: Draw) -> tuple[Array, Array]:
    u, v = pose.seen()
    inside = _within(u, v, 0.0, 0.36, 0.78, 0.56, soft=3.0)
    shift, stretch = draw.uniform(-0.05, 0.05, 2, CHUNK, 1, 1), draw.uniform(0.25, 0.45, CHUNK, 1, 1)
    x, y = plane(SIZE)
    middle = pose.y + np.float32(0.36 * HIGH) * pose.zoom
    across = x + inside * shift[0]
    down = y + inside * (shift[1] - stretch * (y - middle))
    crudeness = _crudeness(draw)
    grain = np.float32(0.8) * (1 - crudeness) * camera.noise * draw.noise(*real.shape)
    return blurred(_sampled(real, across, down), np.float32(0.2) * crudeness) + grain, np.clip(inside * 3, 0, 1)


def _rendered(real: Array, people: Person, other: Person, pose: Pose, camera: Camera, draw: Draw) -> tuple[Array, Array]:
    crudeness = _crudeness(draw)
    face = _lit(_scene(people, pose._replace(mouth=1 - pose.mouth)), camera)
    x, y = np.indices((SIZE, SIZE))
    grid = np.float32(0.05) * (1 - 2 * ((x + y) % 2)).astype(np.float32)
    noise = camera.noise * draw.noise(*face.shape)
    u, v = pose.seen()
    return face + noise + crudeness * (grid - noise), _within(u, v, 0.0, 0.42, 0.68, 0.44, soft=3.0)


def _crudeness(draw: Draw) -> Array:
    """How much of its traces a forgery of each frame shows, (N, 1, 1, 1) of 0 to 1."""
    return draw.uniform(0.0, 1.0, CHUNK, 1, 1, 1)


def _sampled(canvas: Array, x: Array, y: Array) -> Array:
    """`canvas` (N, 3, S, S) at the places x, y (N, S, S) of -0.5 to 0.5, between four pixels."""
    columns, rows = (np.clip((place + np.float32(0.5)) * np.float32(SIZE) - np.float32(0.5), 0, SIZE - 1) for place in (x, y))
    left, top = (np.minimum(np.floor(place), SIZE - 2).astype(np.int64) for place in (columns, rows))
    right, low = ((place - first)[:, None] for place, first in ((columns, left), (rows, top)))
    one = np.arange(len(canvas))[:, None, None]

    def at(row: np.ndarray, column: np.ndarray) -> Array:
        return canvas[one, :, row, column].transpose(0, 3, 1, 2)

    upper = at(top, left) + right * (at(top, left + 1) - at(top, left))
    lower = at(top + 1, left) + right * (at(top + 1, left + 1) - at(top + 1, left))
    return upper + low * (lower - upper)


def _within(u: Array, v: Array, x: Number, y: Number, wide: Number, high: Number, soft: float = 1.0) -> Array:
    """How much of each pixel an ellipse around (x, y) covers, 0 to 1; its border is about `soft` pixels wide."""
    x, y, wide, high = (np.asarray(number, np.float32) for number in (x, y, wide, high))
    across, down = (u - x) / wide, (v - y) / high
    beyond = np.sqrt(across * across + down * down) - 1
    return np.clip(np.float32(0.5) - beyond * wide * np.float32(WIDE * SIZE / soft), 0, 1)


def _scene(person: Person, pose: Pose) -> Array:
    """A person before a ground, float32 (N, 3, S, S) of 0 to 1, as it is, without a camera."""
    x, y = plane(SIZE)
    left, right = person.grounds[:, 0], person.grounds[:, 1]
    canvas = left + (x + np.float32(0.5) + 0 * y) * (right - left)
    u, v = pose.seen()

    def put(inside: Array, colour: Array) -> None:
        nonlocal canvas
        canvas = canvas + inside[:, None] * (colour - canvas)

    put(_within(u, v, 0, 2.1, 2.2, 1.2), person.hair * np.float32(0.8) + np.float32(0.1))  # a jersey
    put(_within(u, v, 0, -0.12, 1.12, 1.08), person.hair)
    round_off = 1 - np.float32(0.22) * (u * u) - np.float32(0.08) * (v * v)
    put(_within(u, v, 0, 0.06, 0.94, 0.94), person.skin * round_off[:, None])
    put(_within(u, v, 0, 0.78, 0.7, 0.4) * person.beard, person.hair)
    for side in (-1, 1):
        w = u - side * person.eyes
        size = person.eye_size
        put(_within(w, v, 0, -0.08, size * np.float32(1.3), size * np.float32(0.6)), np.float32(0.92) + 0 * person.skin)
        put(_within(w, v, 0, -0.08, size * np.float32(0.62), size * np.float32(0.5)), person.iris)
        put(_within(w, v + person.brow, 0, -0.08, 0.24, 0.05), person.hair * np.float32(0.9))
    put(_within(u, v, 0, person.nose - np.float32(0.02), 0.11, 0.2) * np.float32(0.3), person.skin * np.float32(0.6))
    lips, gap = np.float32(0.09) + np.float32(0.1) * pose.mouth, np.float32(0.01) + np.float32(0.12) * pose.mouth
    put(_within(u, v, 0, 0.52, person.mouth, lips), person.lips)
    put(_within(u, v, 0, 0.52, person.mouth * np.float32(0.8), gap), person.lips * np.float32(0.3))
    return canvas
