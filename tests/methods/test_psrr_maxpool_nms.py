"""PSRR-MaxpoolNMS: kernels and recovery by hand, the pyramid against loops over boxes, and what the shift is for."""

from __future__ import annotations

import importlib
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.artifacts import Candidates
from suite.contract import Skip

pooling = importlib.import_module("suite.baselines._pooling")
psrr = importlib.import_module("suite.baselines.psrr_maxpool_nms")
MAPS = pooling.Maps((64, 128, 256, 512), (0.5, 1.0, 2.0), 0.75, 16.0)
STEPS = ("single", "ratios", "scales", "all")
ALL = {"maps": MAPS, "steps": STEPS, "shift": True, "recover_channel": True, "recover_cell": True, "raw": False}


def boxes(*items: tuple[float, float, float, float, float], labels: list[int] | None = None) -> Candidates:
    """`items` are centre x, centre y, width, height, score, in a picture of 640 x 640."""
    x, y, wide, high, scores = torch.tensor(items).T
    corners = torch.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], 1)
    return Candidates(corners, scores, torch.tensor(labels or [1] * len(items)), (640, 640))


def test_kernels_by_hand():
    kernels = MAPS.kernels()  # w = side / sqrt(ratio), h = side * sqrt(ratio), k = round(0.75 / 16 * length)
    assert kernels[0].tolist() == [[4, 2], [3, 3], [2, 4]]  # 90.5 x 45.3, 64 x 64, 45.3 x 90.5
    assert kernels[3].tolist() == [[34, 17], [24, 24], [17, 34]]
    assert pooling.Maps((8,), (1.0,), 0.75, 16.0).kernels().tolist() == [[[1, 1]]]


def test_channels_are_recovered_from_the_box():
    item = boxes((300, 300, 64, 64, 0.5), (300, 300, 90, 45, 0.5), (300, 300, 95, 95, 0.5), (300, 300, 300, 600, 0.5))
    scale, ratio = MAPS.channels(item.boxes, item.size)
    assert scale.tolist() == [0, 0, 1, 3]  # 95 is nearer to 128 than to 64 by its logarithm
    assert ratio.tolist() == [1, 0, 1, 2]
    scale, _ = MAPS.channels(item.boxes, item.size, raw=True)
    assert scale.tolist()[2] == 0  # and nearer to 64 by its area
    half = Candidates(item.boxes / 2, item.scores, item.labels, (320, 320))  # the maps scale with the picture
    assert [part.tolist() for part in MAPS.channels(half.boxes, half.size)] == [[0, 0, 1, 3], [1, 0, 1, 2]]
    assert MAPS.cells(half.boxes, half.size).tolist() == MAPS.cells(item.boxes, item.size).tolist() == [[18, 18]] * 4


def test_the_shift_catches_doubles_on_both_sides_of_a_border():
    item = boxes((47, 24, 64, 64, 0.9), (49, 24, 64, 64, 0.8))  # cells 2 and 3, with windows of 3 cells
    single = {**ALL, "steps": ("single",)}
    assert psrr.keep(item, **{**single, "shift": False}).tolist() == [0, 1]
    assert psrr.keep(item, **single).tolist() == [0]


def test_the_pyramid_catches_doubles_in_other_channels():
    item = boxes((24, 24, 64, 64, 0.9), (24, 24, 90, 45, 0.8), (24, 24, 128, 128, 0.7), labels=None)
    assert psrr.keep(item, **{**ALL, "steps": ("single",)}).tolist() == [0, 1, 2]
    assert psrr.keep(item, **{**ALL, "steps": ("single", "ratios")}).tolist() == [0, 2]
    assert psrr.keep(item, **ALL).tolist() == [0]
    other = Candidates(item.boxes, item.scores, torch.tensor([1, 1, 2]), item.size)
    assert psrr.keep(other, **ALL).tolist() == [0, 2]  # another class is another map


def test_boxes_on_the_border_and_none_at_all():
    item = boxes((640, 640, 10, 10, 0.5), (0, 0, 10, 10, 0.5))
    assert psrr.keep(item, **ALL).tolist() == [0, 1]
    assert psrr.keep(Candidates(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), (9, 9)), **ALL).tolist() == []


def test_of_equal_scores_the_first_stays():
    item = boxes(*[(24.0, 24.0, 64.0, 64.0, 0.5)] * 5)
    assert psrr.keep(item, **ALL).tolist() == [0]


def loops(item: Candidates, shift: bool) -> list[int]:
    """The algorithm box by box and window by window, straight from its description."""
    def nearest(value: float, among: tuple[float, ...]) -> int:
        return min(range(len(among)), key=lambda row: abs(math.log(value) - math.log(among[row])))

    places = []
    for left, top, right, bottom in item.boxes.double().tolist():
        wide, high = right - left, bottom - top
        places.append((nearest(math.sqrt(wide * high), MAPS.sides), nearest(high / wide, MAPS.ratios),
                       math.floor((left + right) / 32), math.floor((top + bottom) / 32)))

    def kernel(scales: list[int], ratios: list[int]) -> tuple[int, int]:
        sizes = [(MAPS.sides[s] / math.sqrt(MAPS.ratios[r]), MAPS.sides[s] * math.sqrt(MAPS.ratios[r])) for s in scales for r in ratios]
        return tuple(min(max(1, math.floor(MAPS.alpha * size[axis] / MAPS.beta + 0.5)) for size in sizes) for axis in (0, 1))

    alive = list(range(len(item.scores)))
    for step in STEPS:
        best: dict[tuple, int] = {}
        keys: dict[int, list[tuple]] = {}
        for row in alive:
            s, r, x, y = places[row]
            scales = [s] if step in ("single", "ratios") else list(range(4))
            ratios = [r] if step in ("single", "scales") else list(range(3))
            kx, ky = kernel(scales, ratios)
            grids = [(0, 0), (kx - math.floor(kx / 2 + 0.5), ky - math.floor(ky / 2 + 0.5))] if shift else [(0, 0)]
            keys[row] = [(grid, int(item.labels[row]), *scales, "-", *ratios, (x + dx) // kx, (y + dy) // ky) for grid, (dx, dy) in enumerate(grids)]
            for key in keys[row]:
                if key not in best or item.scores[row] > item.scores[best[key]]:
                    best[key] = row
        alive = [row for row in alive if all(best[key] == row for key in keys[row])]
    return alive


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 120), st.integers(0, 999), st.booleans())
def test_the_same_as_loops_over_boxes(count, seed, shift):
    draw = torch.Generator().manual_seed(seed)
    centre = torch.rand(count, 2, generator=draw) * 640
    size = 30 * 15 ** torch.rand(count, 2, generator=draw)
    item = Candidates(torch.cat([centre - size / 2, centre + size / 2], 1).clamp(0, 640), torch.rand(count, generator=draw),
                      torch.randint(1, 4, (count,), generator=draw), (640, 640))
    assert psrr.keep(item, **{**ALL, "shift": shift}).tolist() == loops(item, shift)


def test_recovery_can_be_left_out_where_anchors_are_known():
    item = boxes((24, 24, 64, 64, 0.9), (30, 24, 64, 64, 0.8))
    with pytest.raises(Skip, match="only where the anchors are known"):
        psrr.keep(item, **{**ALL, "recover_channel": False})
    apart = torch.tensor([[0.0, 0, 64, 64], [500, 500, 564, 564]])
    known = Candidates(item.boxes, item.scores, item.labels, item.size, apart)
    assert psrr.keep(known, **ALL).tolist() == [0]
    assert psrr.keep(known, **{**ALL, "recover_cell": False}).tolist() == [0, 1]  # the double keeps the cell of its anchor
