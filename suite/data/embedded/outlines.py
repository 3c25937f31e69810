"""Masks of embedded objects as COCO writes them: run lengths, and polygons along pixel edges."""

from __future__ import annotations

from typing import Any

import numpy as np

# Directions along pixel edges, in the order of right turns (y points down): right, down, left, up.
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def runs(mask: np.ndarray) -> dict[str, Any]:
    """bool (H, W) as uncompressed run lengths, ``{"size": [H, W], "counts": [zeros, ones, zeros, ...]}``."""
    flat = mask.T.ravel().astype(np.int8)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flat, [0]))))
    ends = np.concatenate(([0], edges if flat[-1] == 0 else edges[:-1], [flat.size]))
    return {"size": list(mask.shape), "counts": np.diff(ends).tolist()}


def polygons(mask: np.ndarray) -> list[list[float]] | None:
    """The outlines of bool (H, W) along pixel edges, one polygon per connected part; None where a part has a hole.

    They enclose exactly the mask's pixels, also for pycocotools.
    """
    ahead = _edges(mask)
    outlines: list[list[float]] = []
    while ahead:
        start = min(ahead)
        corners = _loop(ahead, start)
        x, y = (np.array(axis, dtype=np.int64) for axis in zip(*corners, strict=True))
        if (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() < 0:  # anticlockwise: the outline of a hole
            return None
        outlines.append([float(value) for corner in corners for value in corner])
    return outlines


def _edges(mask: np.ndarray) -> dict[tuple[int, int], list[int]]:
    """The directions that leave each grid point (x, y) along the mask's border, the mask to the right."""
    padded = np.pad(mask, 1)
    here, left, above = padded[1:, 1:], padded[1:, :-1], padded[:-1, 1:]
    ahead: dict[tuple[int, int], list[int]] = {}
    # Above a pixel the border runs right, below it left (the edge belongs to the row beneath), on its left up, right down.
    for found, direction, offset in (
        (here & ~above, 0, (0, 0)), (above & ~here, 2, (1, 0)), (here & ~left, 3, (0, 1)), (left & ~here, 1, (0, 0)),
    ):
        for y, x in zip(*(axis.tolist() for axis in np.nonzero(found)), strict=True):
            ahead.setdefault((x + offset[0], y + offset[1]), []).append(direction)
    return ahead


def _loop(ahead: dict[tuple[int, int], list[int]], start: tuple[int, int]) -> list[tuple[int, int]]:
    """Follow and remove one closed border from `start`, its leftmost point: its corners.

    Pixels that touch at a corner alone are taken apart there.
    """
    corners: list[tuple[int, int]] = []
    point, before = start, -1
    while point in ahead:
        ways = ahead[point]
        direction = (before + 1) % 4 if len(ways) == 2 else ways[0]  # a right turn stays on the same pixel
        ways.remove(direction)
        if not ways:
            del ahead[point]
        if direction != before:
            corners.append(point)
        point, before = (point[0] + _STEPS[direction][0], point[1] + _STEPS[direction][1]), direction
    return corners
