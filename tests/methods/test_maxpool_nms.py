"""MaxpoolNMS: one class on the anchors' maps is exactly torch's max-pooling."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch.nn import functional

from suite.artifacts import Candidates
from suite.contract import Skip

pooling = importlib.import_module("suite.baselines._pooling")
maxpool = importlib.import_module("suite.baselines.maxpool_nms")
MAPS = pooling.Maps((64, 128), (1.0,), 0.75, 16.0)


def dense(draw):
    """Two channels of anchors at every cell of a 640 x 640 picture, with boxes moved far away from them."""
    y, x = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
    centre = torch.stack([x, y], 2).reshape(-1, 2) * 16.0 + 8
    anchors = torch.cat([torch.cat([centre - side / 2, centre + side / 2], 1) for side in (64, 128)])
    scores = torch.rand(len(anchors), generator=draw)
    boxes = anchors + 100 * torch.rand(anchors.shape, generator=draw)
    return Candidates(boxes, scores, torch.ones(len(anchors), dtype=torch.int64), (640, 640), anchors)


def test_it_is_max_pooling_on_the_anchors_maps():
    item = dense(torch.Generator().manual_seed(0))
    assert MAPS.kernels().tolist() == [[[3, 3]], [[6, 6]]]  # 0.75 * 64 / 16, 0.75 * 128 / 16
    rows = maxpool.keep(item, MAPS, ("single",))
    wanted = []
    for channel, kernel in enumerate((3, 6)):
        scores = item.scores.view(2, 40, 40)[channel]
        _, where = functional.max_pool2d(scores[None, None], kernel, ceil_mode=True, return_indices=True)
        wanted += (where.flatten() + 1600 * channel).tolist()
    assert sorted(rows.tolist()) == sorted(wanted)


def test_the_box_itself_does_not_matter():
    item = dense(torch.Generator().manual_seed(0))
    moved = Candidates(item.boxes.flip(0), item.scores, item.labels, item.size, item.anchors)
    assert torch.equal(maxpool.keep(item, MAPS, ("single",)), maxpool.keep(moved, MAPS, ("single",)))


def test_without_anchors_it_is_skipped():
    item = dense(torch.Generator())
    with pytest.raises(Skip, match="needs the anchors"):
        maxpool.keep(Candidates(item.boxes, item.scores, item.labels, item.size), MAPS, ("single",))
