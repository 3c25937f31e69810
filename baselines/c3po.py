"""C-3PO: change detection as feature merging by kinds of change (appear, disappear, exchange) before ordinary segmentation.

Wang, Gao, Wang: "How to Reduce Change Detection to Semantic Segmentation", Pattern Recognition 2023, arXiv 2206.07557, and
the repository DoctorKey/C-3PO. What is here is MTF, the merging of temporal features; MSF, the head, the loss and the
training, which its rivals share, are in `_change.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from suite.baselines._change import ChangeMethod, Segmenter
from torch import Tensor, nn

from suite.contract import Claim, Paper, Published, Side, option

MODES = ("iade", "iad", "iae", "ide", "ia", "id", "ie", "i", "a", "d", "e")


@dataclass
class C3poMethod(ChangeMethod):
    """The earlier picture is first: swapping the two swaps appear and disappear."""

    paper = Paper("How to Reduce Change Detection to Semantic Segmentation", "Wang, Gao, Wang", "Pattern Recognition", 2023,
                  "https://arxiv.org/abs/2206.07557")
    tags = ("change-detection",)
    standins = (
        "The backbone is pre-trained by the suite on embedded data, not on ImageNet, unless weights=FILE gives such weights.",
        "At smoke and short a CIFAR ResNet-8 (its last two maps, strides 2 and 4), width 48 instead of 512, an FCN head, and ten "
        "times the learning rate: few steps on small pictures.",
        "Warm-up for a twentieth of the steps (5 of 100 epochs); ResNet-50 without dilation.",
    )
    published = tuple(
        Published("change_detection", "f1_image", value, f"README image (paper {place}, last", {"arch": "resnet18", "mode": mode})
        for mode, value, place in (("id", 77.6, "table 5), VL-CMU-CD"), ("iade", 81.2, "table 6), PCD average"))
    )
    claims = tuple(
        Claim(name, sentence, "change_detection", "f1_image", "above", sides, margin=margin, held_equal=(("total", 0.01),),
              task_options={"kinds": kinds})
        for name, sentence, sides, margin, kinds in (
            ("beats early concatenation", "Merging features by kinds of change beats concatenating the pictures.",
             (Side("c3po", {"mode": "iade"}), Side("plain_change", {"merge": "early"})), 0.0, "all"),
            ("beats feature concatenation", "Merging features by kinds of change beats concatenating the features.",
             (Side("c3po", {"mode": "iade"}), Side("plain_change", {"merge": "concatenation"})), 0.0, "all"),
            ("disappear alone", "Where objects only disappear, information and that branch are no worse than all branches.",
             (Side("c3po", {"mode": "id"}), Side("c3po", {"mode": "iade"})), -1.0, "disappear"),
            ("appear needs its branch", "Where objects only appear, the branch for disappearing falls behind that for appearing.",
             (Side("c3po", {"mode": "ia"}), Side("c3po", {"mode": "id"})), 2.0, "appear"),
        )
    )

    mode: str = option("iade", "branches: i information, a appear, d disappear, e exchange", choices=MODES)

    def segmenter(self, backbone: nn.Module) -> Segmenter:
        pyramid = self.pyramid(backbone)
        merging = [MergeTimes(width, self.mode) for width in pyramid.widths[-self.levels :]]
        return Segmenter(pyramid, merging, self.levels, self.width, self.head)


class MergeTimes(nn.Module):
    """MTF at one scale: the maps of the earlier and the later picture (N, C, H, W) -> (N, C, H, W).

    I = W_i (f0 + f1), D = W_r relu(f0 - f1), A = W_r relu(f1 - f0) with the same W_r, E = W_e (max(f0, f1) - min(f0, f1)),
    all 3x3 without bias; out comes relu of their sum. With information and one other branch that one counts twice.
    """

    def __init__(self, width: int, mode: str) -> None:
        super().__init__()
        def conv() -> nn.Conv2d:
            return nn.Conv2d(width, width, 3, 1, 1, bias=False)

        self.mode = mode
        self.double = 2 if len(mode) == 2 else 1
        self.information = conv() if "i" in mode else None
        self.one_way = conv() if "a" in mode or "d" in mode else None
        self.exchange = conv() if "e" in mode else None

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        branches = []
        if self.one_way is not None:
            ways = ("d", before, after), ("a", after, before)
            branches += [self.one_way(torch.relu(more - less)) for name, more, less in ways if name in self.mode]
        if self.exchange is not None:
            branches.append(self.exchange(torch.maximum(before, after) - torch.minimum(before, after)))
        if self.double == 2:
            branches *= 2
        if self.information is not None:
            branches.append(self.information(before + after))
        total = branches[0]
        for branch in branches[1:]:
            total = total + branch
        return torch.relu(total)
