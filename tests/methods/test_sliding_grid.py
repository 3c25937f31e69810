"""The sliding grid: places of windows by hand, and descriptors that are means in them."""

from __future__ import annotations

import importlib

import pytest
import torch

from suite.nn import build

grid = importlib.import_module("suite.baselines.sliding_grid")
shared = importlib.import_module("suite.baselines._retrieval")


def test_windows_by_hand():
    assert grid.windows(90, 90, 1).tolist() == [[0, 0, 90, 90]]
    assert grid.windows(90, 90, 2).tolist()[1:] == [[0, 0, 60, 60], [0, 30, 60, 90], [30, 0, 90, 60], [30, 30, 90, 90]]
    wide = grid.windows(100, 160, 1)  # two windows overlap by 40 pixels of 100
    assert wide.tolist() == [[0, 0, 100, 100], [60, 0, 160, 100]]
    assert grid.windows(160, 100, 1).tolist() == [[0, 0, 100, 100], [0, 60, 100, 160]]
    assert len(grid.windows(100, 160, 3)) == 2 + 2 * 3 + 3 * 4


@pytest.mark.parametrize("high, wide", [(100, 101), (64, 300), (233, 128)])
def test_windows_cover_the_picture_and_stay_in_it(high, wide):
    for level in (1, 2, 3):
        found = grid.windows(high, wide, level)
        assert found.min() >= 0 and found[:, 2].max() == pytest.approx(wide) and found[:, 3].max() == pytest.approx(high)


def test_descriptors_are_means_in_the_windows():
    torch.manual_seed(0)
    made = grid.GridDescriber(build("narrow_resnet10", 10, 64).eval(), 3, 96, 2)
    batch, boxes = made.prepare(torch.randint(0, 256, (3, 60, 80), dtype=torch.uint8))
    found, features = made(batch, boxes)
    assert torch.equal(found, grid.windows(72, 96, 2))
    assert torch.equal(features, shared.region_means(made.map(batch), found, (72, 96)))
