"""Faster R-CNN: the second stage is counted, for as many regions as may go through it."""

from __future__ import annotations

import torch

from suite import plugins
from suite.cost import count
from suite.nn import NarrowResNet
from suite.nn.detection import Body

METHOD = plugins.load("baselines", "faster_rcnn")


def test_the_second_stage_is_counted():
    body = {number: Body(METHOD(width=8, anchor=4.0, proposals=number).network(NarrowResNet(2), 4, 64)).eval() for number in (10, 30)}
    batch = torch.zeros(1, 3, 64, 64)
    macs = {number: count(item, batch).macs for number, item in body.items()}
    per_region = 8 * 49 * 32 + 32 * 32 + 32 * (4 + 16)  # two layers, classes and boxes
    assert macs[30] - macs[10] == 20 * per_region
