"""Greedy suppression: take the box with the highest score, drop all that overlap it, and so on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_iou

from suite.artifacts import Candidates, Suppressor
from suite.context import Run
from suite.contract import Method, Paper, option
from suite.settings import Suppression


@dataclass
class GreedyNMSMethod(Method):
    """Within each class. The sequential way is the algorithm step by step in torch; torchvision's is compiled C++."""

    paper = Paper("Efficient Non-Maximum Suppression", "Neubeck, Van Gool", "ICPR", 2006,
                  "https://doi.org/10.1109/ICPR.2006.479")
    tags = ("suppression", "reference")
    takes = ("Suppression",)
    gives = "Suppressor"

    iou: float = option(0.5, "boxes that overlap a kept one by more than this go", bounds=(0, 1))
    way: Literal["torchvision", "sequential"] = option("torchvision", "who computes it; the boxes kept are the same")

    def fit(self, setting: Suppression, run: Run) -> Suppressor:
        return Suppressor(partial({"torchvision": compiled, "sequential": sequential}[self.way], iou=self.iou))


def compiled(item: Candidates, iou: float) -> Tensor:
    """Rows int64 by falling score."""
    return batched_nms(item.boxes, item.scores, item.labels, iou)


def sequential(item: Candidates, iou: float) -> Tensor:
    """Rows int64 by falling score: each turn keeps one box and compares it with all that are left."""
    left = item.scores.argsort(descending=True, stable=True)
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        double = (box_iou(item.boxes[best, None], item.boxes[left])[0] > iou) & (item.labels[left] == item.labels[best])
        left = left[~double]
    return torch.stack(kept) if kept else torch.zeros(0, dtype=torch.int64)
