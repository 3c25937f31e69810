"""Mask R-CNN: masks are judged as masks, and its mask head learns from masks alone."""

from __future__ import annotations

import torch

from suite import plugins
from suite.nn import NarrowResNet
from suite.testing.contract import check_record, check_repeats, fit_once

METHOD = plugins.load("baselines", "mask_rcnn")


def test_it_segments(suite_home):
    spec, record = fit_once("coco_segmentation", "mask_rcnn")
    check_record(spec, record)
    check_repeats(spec)
    assert record["parents"]["backbone"].startswith("imagenet/plain/")
    assert set(record["scores"]) == {metric.name for metric in spec.task.metrics}


def test_the_mask_head_has_its_own_loss():
    torch.manual_seed(0)
    network = METHOD(width=8, anchor=4.0, regions=16).network(NarrowResNet(2), 4, 64).train()
    mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
    mask[:, 10:40, 20:50] = 1
    target = {"boxes": torch.tensor([[20.0, 10, 50, 40]]), "labels": torch.tensor([2]), "masks": mask}
    losses = network([torch.rand(3, 64, 64)] * 2, [target, target])
    losses["loss_mask"].backward()
    touched = {name.split(".")[1] for name, item in network.named_parameters() if item.grad is not None and item.grad.abs().sum() > 0}
    assert {"mask_head", "mask_predictor"} <= touched and not {"box_head", "box_predictor"} & touched
