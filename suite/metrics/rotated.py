"""Overlap of boxes that stand on the ground and are turned about the vertical, exactly.

A box is x, y, z of its middle, its length, width and height in metres, and its angle from the x axis to its length, in radians
anticlockwise seen from above: (n, 7) float64. Coordinates have z up.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray
PAIRS = 100_000  # looked at at once, which bounds the memory


def corners(boxes: Array) -> Array:
    """The ground corners of boxes (..., 7), anticlockwise: (..., 4, 2)."""
    along = boxes[..., 3, None] / 2 * np.array([1.0, -1.0, -1.0, 1.0])
    across = boxes[..., 4, None] / 2 * np.array([1.0, 1.0, -1.0, -1.0])
    cos, sin = np.cos(boxes[..., 6, None]), np.sin(boxes[..., 6, None])
    x, y = boxes[..., 0, None] + cos * along - sin * across, boxes[..., 1, None] + sin * along + cos * across
    return np.stack([x, y], axis=-1)


def ground_overlap(first: Array, second: Array) -> Array:
    """Square metres that each of `first` (n, 7) and each of `second` (m, 7) share on the ground: (n, m)."""
    first, second = np.asarray(first, float).reshape(-1, 7), np.asarray(second, float).reshape(-1, 7)
    rows = max(1, PAIRS // max(1, len(second)))
    parts = [shared_areas(first[start : start + rows, None], second[None]) for start in range(0, len(first), rows)]
    return np.concatenate(parts) if parts else np.zeros((0, len(second)))


def pairs_bev(first: Array, second: Array) -> Array:
    """Intersection over union on the ground of each of `first` (n, 7) with its partner in `second` (n, 7): (n,)."""
    both = shared_areas(first, second)
    return _share(both, first[:, 3] * first[:, 4] + second[:, 3] * second[:, 4] - both)


def iou_bev(first: Array, second: Array) -> Array:
    """Intersection over union on the ground, seen from above: (n, m)."""
    both = ground_overlap(first, second)
    areas = [boxes[:, 3] * boxes[:, 4] for boxes in (first, second)]
    return _share(both, areas[0][:, None] + areas[1] - both)


def iou_3d(first: Array, second: Array) -> Array:
    """Intersection over union of volumes, the shared ground times the shared height: (n, m)."""
    tops = [boxes[:, 2] + boxes[:, 5] / 2 for boxes in (first, second)]
    bottoms = [boxes[:, 2] - boxes[:, 5] / 2 for boxes in (first, second)]
    height = np.minimum(tops[0][:, None], tops[1]) - np.maximum(bottoms[0][:, None], bottoms[1])
    both = ground_overlap(first, second) * height.clip(0)
    volumes = [boxes[:, 3] * boxes[:, 4] * boxes[:, 5] for boxes in (first, second)]
    return _share(both, volumes[0][:, None] + volumes[1] - both)


def _share(both: Array, union: Array) -> Array:
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def shared_areas(first: Array, second: Array) -> Array:
    """Square metres that boxes (..., 7) share on the ground. The first are seen from the middle of the second, with the axes along
    their sides.

    There the second is |u| <= l / 2, |v| <= w / 2, and the area shared with a polygon is Green's integral of -clip(v, -w/2, w/2) du
    over what of the polygon's outline has |u| <= l / 2: along each edge a line of three straight pieces.
    """
    offset = corners(first) - second[..., None, :2]
    cos, sin = np.cos(second[..., 6])[..., None], np.sin(second[..., 6])[..., None]
    u = cos * offset[..., 0] + sin * offset[..., 1]
    v = cos * offset[..., 1] - sin * offset[..., 0]
    length, width = second[..., 3, None] / 2, second[..., 4, None] / 2
    step_u, step_v = np.roll(u, -1, axis=-1) - u, np.roll(v, -1, axis=-1) - v
    start, end = np.sort(_reached(u, step_u, length), axis=0).clip(0, 1)
    bends = np.sort(_reached(v, step_v, width), axis=0).clip(start, end)
    places = np.stack([start, *bends, end])  # of the edge, 0 to 1: between two of them clip(v) is straight
    heights = (v + places * step_v).clip(-width, width)
    pieces = (places[1:] - places[:-1]) * (heights[1:] + heights[:-1]) / 2
    return (-step_u * pieces.sum(0)).sum(-1).clip(0)


def _reached(start: Array, step: Array, bound: Array) -> Array:
    """Where on the way from `start` to `start` + `step` -`bound` and `bound` are passed, (2, ...): before 0 or behind 1 if not.

    A way that does not move is all inside (0 to 1), or all outside (both 0).
    """
    still = step == 0
    safe = np.where(still, 1.0, step)
    passed = np.stack([(-bound - start) / safe, (bound - start) / safe])
    inside = np.stack([np.zeros_like(start), (np.abs(start) <= bound).astype(float)])
    return np.where(still, inside, passed)
