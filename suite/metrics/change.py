"""Metrics of binary segmentation, in percent, averaged over images or taken over all pixels at once.

With the pixels of the positive class (change) counted as TP, FP, FN, TN:
precision = TP / (TP + FP), recall = TP / (TP + FN), F1 = 2 TP / (2 TP + FP + FN), IoU = TP / (TP + FP + FN).
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-7  # in C-3PO's code, beside every denominator


def confusion(predicted: Tensor, target: Tensor) -> Tensor:
    """int64 (N, 4): TP, FP, FN, TN of each image for `predicted` and `target` (N, H, W) of 0 and 1; target 255 is left out."""
    counted = target != 255
    guess, truth = (predicted == 1) & counted, (target == 1) & counted
    parts = guess & truth, guess & ~truth, ~guess & truth, ~guess & ~truth & counted
    return torch.stack([part.flatten(1).sum(1) for part in parts], 1)


def per_image(counts: Tensor) -> dict[str, float]:
    """The mean over images of the scores of `counts` (N, 4), as C-3PO and its predecessors report F1.

    The code's EPSILON stands beside each denominator, so that an image without change scores 0, whatever was predicted.
    """
    tp, fp, fn, _ = counts.double().unbind(1)
    precision, recall = tp / (tp + fp + EPSILON), tp / (tp + fn + EPSILON)
    scores = {"f1": 2 * precision * recall / (precision + recall + EPSILON), "iou": tp / (tp + fp + fn + EPSILON),
              "precision": precision, "recall": recall}
    return {f"{name}_image": 100 * float(score.mean()) for name, score in scores.items()}


def over_all(counts: Tensor) -> dict[str, float]:
    """The scores of all pixels of `counts` (N, 4) together; 0 where a denominator is 0.

    ``miou_global`` is the mean of the IoU of change and of no change (0 for a class that is neither there nor predicted, as
    ChangeSim's code has it), ``accuracy_global`` the share of pixels that are right.
    """
    tp, fp, fn, tn = counts.sum(0).tolist()
    scores = {"f1": (2 * tp, 2 * tp + fp + fn), "iou": (tp, tp + fp + fn), "precision": (tp, tp + fp), "recall": (tp, tp + fn),
              "accuracy": (tp + tn, tp + fp + fn + tn)}
    found = {f"{name}_global": 100 * part / whole if whole else 0.0 for name, (part, whole) in scores.items()}
    same = 100 * tn / (tn + fp + fn) if tn + fp + fn else 0.0
    return found | {"miou_global": (found["iou_global"] + same) / 2}
