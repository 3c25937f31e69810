"""mIoU and FB-IoU of episodes: by hand, and against torchmetrics."""

from __future__ import annotations

import pytest
import torch

from suite.metrics.change import confusion
from suite.metrics.fewshot import class_iou, constant, fb_iou, mean_iou


def test_pixels_are_counted_over_all_episodes_of_a_class():
    counts = torch.tensor([[1, 0, 1, 8], [9, 1, 0, 0], [0, 5, 5, 0]])  # TP, FP, FN, TN
    labels = torch.tensor([3, 3, 7])
    assert class_iou(counts, labels) == {3: pytest.approx(100 * 10 / 12), 7: 0}  # not the mean of 1/2 and 9/10
    assert mean_iou(counts, labels) == pytest.approx(50 * 10 / 12)
    assert fb_iou(counts) == pytest.approx(50 * (10 / 22 + 8 / 20))


def test_constant_predictors():
    counts = torch.tensor([[1, 2, 3, 4]])
    assert constant(counts, True).tolist() == [[4, 6, 0, 0]] and constant(counts, False).tolist() == [[0, 0, 4, 6]]
    labels = torch.tensor([1])
    assert mean_iou(constant(counts, True), labels) == pytest.approx(40) and mean_iou(constant(counts, False), labels) == 0
    assert fb_iou(constant(counts, False)) == pytest.approx(30) and fb_iou(constant(counts, True)) == pytest.approx(20)


def test_equals_torchmetrics():
    classification = pytest.importorskip("torchmetrics.classification")
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(1, 6, (60,), generator=generator)
    target = torch.randint(0, 2, (60, 9, 7), generator=generator)
    guess = torch.where(torch.rand(target.shape, generator=generator) < 0.7, target, 1 - target)
    target[torch.rand(target.shape, generator=generator) < 0.1] = 255
    counts = torch.cat([confusion(one[None], other[None]) for one, other in zip(guess, target, strict=True)])
    index = classification.BinaryJaccardIndex(ignore_index=255)
    wanted = {label: 100 * float(index(guess[labels == label], target[labels == label])) for label in labels.unique().tolist()}
    assert class_iou(counts, labels) == pytest.approx(wanted, abs=1e-4)
    assert mean_iou(counts, labels) == pytest.approx(sum(wanted.values()) / 5, abs=1e-4)
    both = classification.MulticlassJaccardIndex(num_classes=2, ignore_index=255, average="macro")
    assert fb_iou(counts) == pytest.approx(100 * float(both(guess, target)), abs=1e-4)
