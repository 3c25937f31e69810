"""The plain ways to merge two times for change detection: concatenated pictures, concatenated features, their difference.

The rivals in C-3PO's claim: the same backbone, merging of scales, head, loss and training (`_change.py`), and as merging of
times what fully convolutional change detection began with (Daudt, Le Saux, Boulch: FC-EF, FC-Siam-conc, FC-Siam-diff).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from suite.baselines._change import ChangeMethod, Segmenter
from torch import Tensor, nn

from suite.contract import Paper, option
from suite.nn.pyramid import Pyramid


@dataclass
class PlainChangeMethod(ChangeMethod):
    """No merging module of its own: one 1x1 convolution, a difference, or none."""

    paper = Paper("Fully Convolutional Siamese Networks for Change Detection", "Daudt, Le Saux, Boulch", "ICIP", 2018,
                  "https://arxiv.org/abs/1810.08462")
    tags = ("reference",)
    standins = (
        "C-3PO's backbone, merging of scales and head instead of a U-Net, so that rows differ in the merging of times alone.",
        "The first layer of early concatenation has its pre-trained weights twice, halved, once for each picture.",
    )

    merge: str = option("concatenation", "features side by side, their absolute difference, or the pictures (early)",
                        choices=("concatenation", "difference", "early"))

    def segmenter(self, backbone: nn.Module) -> Segmenter:
        pyramid = self.pyramid(backbone)
        widths = pyramid.widths[-self.levels :]
        if self.merge == "early":
            return Segmenter(six_channels(pyramid), None, self.levels, self.width, self.head)
        merging = Concatenation if self.merge == "concatenation" else Difference
        return Segmenter(pyramid, [merging(width) for width in widths], self.levels, self.width, self.head)


class Concatenation(nn.Module):
    """relu(W [f0; f1]) with a 1x1 convolution W of 2C to C channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * width, width, 1, bias=False)

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        return torch.relu(self.conv(torch.cat([before, after], 1)))


class Difference(nn.Module):
    """|f1 - f0|, without weights."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        return torch.abs(after - before)


def six_channels(pyramid: Pyramid) -> Pyramid:
    """`pyramid` with a first convolution of six channels that gives for two equal pictures what it gave for one."""
    name, old = next((name, module) for name, module in pyramid.named_modules() if isinstance(module, nn.Conv2d))
    new = nn.Conv2d(6, old.out_channels, old.kernel_size, old.stride, old.padding, bias=old.bias is not None)  # type: ignore[arg-type]
    with torch.no_grad():
        new.weight.copy_(torch.cat([old.weight, old.weight], 1) / 2)
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    parent, _, leaf = name.rpartition(".")
    setattr(pyramid.get_submodule(parent), leaf, new)
    return pyramid
