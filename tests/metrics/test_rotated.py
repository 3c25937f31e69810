"""Overlap of turned boxes against shapely's polygons, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from shapely.geometry import Polygon

from suite.metrics import rotated
from suite.metrics.rotated import ground_overlap, iou_3d, iou_bev

number = some.floats(-4, 4).map(lambda x: round(x, 3))
side = some.floats(0.05, 6).map(lambda x: round(x, 3))
angle = some.one_of(some.floats(-7, 7), some.integers(-4, 4).map(lambda quarters: quarters * np.pi / 4))
box = some.tuples(number, number, number, side, side, side, angle)
boxes = some.lists(box, min_size=1, max_size=6).map(np.array)


def outline(box: np.ndarray) -> Polygon:
    """The box on the ground, with corners made here."""
    x, y, _, long, wide, _, turn = box
    along, across = np.array([np.cos(turn), np.sin(turn)]) * long / 2, np.array([-np.sin(turn), np.cos(turn)]) * wide / 2
    return Polygon([np.array([x, y]) + a * along + b * across for a, b in ((1, 1), (-1, 1), (-1, -1), (1, -1))])


def by_shapely(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """IoU on the ground and in space."""
    flat, solid = np.zeros((2, len(first), len(second)))
    for row, one in enumerate(first):
        for column, other in enumerate(second):
            a, b = outline(one), outline(other)
            both = a.intersection(b).area
            high = min(one[2] + one[5] / 2, other[2] + other[5] / 2) - max(one[2] - one[5] / 2, other[2] - other[5] / 2)
            flat[row, column] = both / (a.area + b.area - both)
            volume = both * max(0, high)
            solid[row, column] = volume / (a.area * one[5] + b.area * other[5] - volume)
    return flat, solid


@settings(max_examples=150, deadline=None)
@given(boxes, boxes)
def test_overlaps_are_shapelys(first: np.ndarray, second: np.ndarray) -> None:
    flat, solid = by_shapely(first, second)
    assert np.abs(iou_bev(first, second) - flat).max() < 1e-9
    assert np.abs(iou_3d(first, second) - solid).max() < 1e-9


@settings(max_examples=60, deadline=None)
@given(boxes, some.floats(-1e-9, 1e-9), some.integers(-3, 3))
def test_boxes_that_all_but_coincide(first: np.ndarray, little: float, quarters: int) -> None:
    second = first + np.array([little, -little, 0, 0, 0, 0, little + quarters * np.pi])
    flat, _ = by_shapely(first, second)
    assert np.abs(iou_bev(first, second) - flat).max() < 1e-9
    assert np.diag(iou_bev(first, second)).min() > 1 - 1e-6 and np.diag(iou_3d(first, first)).min() > 1 - 1e-12


def test_by_hand() -> None:
    square = np.array([[0, 0, 1, 2, 2, 2, 0.0]])
    others = np.array([
        [1, 0, 1, 2, 2, 2, 0],  # half of it: 2 of 6
        [0, 0, 1, 2, 2, 2, np.pi / 4],  # an octagon of 8 (sqrt 2 - 1) square metres
        [0, 0, 2, 2, 2, 2, np.pi / 2],  # the same from above, half as deep
        [2, 0, 1, 2, 2, 2, 0],  # touches
        [0, 0, 9, 2, 2, 2, 0],  # above it
        [0, 0, 1, 1, 1, 1, 0.3],  # inside
    ])
    octagon = 8 * (2**0.5 - 1)
    assert ground_overlap(square, others)[0] == pytest.approx([2, octagon, 4, 0, 4, 1], abs=1e-12)
    assert iou_bev(square, others)[0] == pytest.approx([1 / 3, octagon / (8 - octagon), 1, 0, 1, 1 / 4], abs=1e-12)
    assert iou_3d(square, others)[0] == pytest.approx([1 / 3, octagon / (8 - octagon), 1 / 3, 0, 0, 1 / 8], abs=1e-12)


def test_none_and_many(monkeypatch: pytest.MonkeyPatch) -> None:
    some_boxes = np.random.default_rng(0).uniform(0.5, 3, (40, 7))
    whole = iou_bev(some_boxes, some_boxes)
    monkeypatch.setattr(rotated, "PAIRS", 100)
    assert np.array_equal(iou_bev(some_boxes, some_boxes), whole)
    none = np.zeros((0, 7))
    assert iou_3d(none, some_boxes).shape == (0, 40) and iou_3d(some_boxes, none).shape == (40, 0)
