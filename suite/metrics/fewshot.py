"""Metrics of few-shot segmentation, in percent, of pixels counted over all episodes and never averaged over episodes.

With the pixels of the episode's class counted as TP, FP, FN, TN (`suite.metrics.change.confusion`):
IoU of class c = TP / (TP + FP + FN) over the episodes of c, mIoU its mean over the classes; FB-IoU the mean of
TP / (TP + FP + FN) and TN / (TN + FP + FN) over the episodes of all classes together.
"""

from __future__ import annotations

import torch
from torch import Tensor


def class_iou(counts: Tensor, labels: Tensor) -> dict[int, float]:
    """The IoU of each class in `labels` (N,), of `counts` int64 (N, 4): TP, FP, FN, TN of each episode."""
    return {label: _iou(counts[labels == label].sum(0)) for label in labels.unique().tolist()}


def mean_iou(counts: Tensor, labels: Tensor) -> float:
    """The mean of `class_iou` over the classes that have episodes."""
    found = class_iou(counts, labels)
    return sum(found.values()) / len(found)


def fb_iou(counts: Tensor) -> float:
    """The mean of the IoU of foreground and background of `counts` (N, 4)."""
    total = counts.sum(0)
    return (_iou(total) + _iou(total.flip(0))) / 2  # TN in the place of TP


def constant(counts: Tensor, foreground: bool) -> Tensor:
    """The counts (N, 4) of a predictor that finds the class everywhere, or nowhere."""
    tp, fp, fn, tn = counts.unbind(1)
    inside, outside, none = tp + fn, fp + tn, torch.zeros_like(tp)
    return torch.stack([inside, outside, none, none] if foreground else [none, none, inside, outside], 1)


def _iou(total: Tensor) -> float:
    """Of four sums; 0 where there is nothing to find and nothing found."""
    tp, fp, fn, _ = total.tolist()
    return 100 * tp / (tp + fp + fn) if tp + fp + fn else 0.0
