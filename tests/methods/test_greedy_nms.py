"""Greedy suppression: by hand, and the sequential way against torchvision's."""

from __future__ import annotations

import importlib

import torch
from hypothesis import given
from hypothesis import strategies as st

from suite.artifacts import Candidates

greedy = importlib.import_module("suite.baselines.greedy_nms")


def test_by_hand():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [5, 0, 15, 10]])  # IoU with the second: 0.82, 0.82, 0.43
    item = Candidates(boxes, torch.tensor([0.8, 0.9, 0.7, 0.6]), torch.tensor([1, 1, 2, 1]), (20, 20))
    for way in (greedy.compiled, greedy.sequential):
        assert way(item, 0.5).tolist() == [1, 2, 3]  # another class stays, less than half an overlap stays
        assert way(item, 0.4).tolist() == [1, 2]
        assert way(item, 0.9).tolist() == [1, 0, 2, 3]


@given(st.integers(0, 60), st.integers(0, 999))
def test_both_ways_keep_the_same(count, seed):
    draw = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=draw) * 40
    boxes = torch.cat([corner, corner + 1 + 30 * torch.rand(count, 2, generator=draw)], 1)
    item = Candidates(boxes, torch.rand(count, generator=draw), torch.randint(1, 3, (count,), generator=draw), (80, 80))
    assert greedy.compiled(item, 0.5).tolist() == greedy.sequential(item, 0.5).tolist()
