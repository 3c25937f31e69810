"""A sliding grid: square windows of several sizes at fixed places, each described by the mean of a classifier's map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from suite.baselines._retrieval import Describer, RetrievalMethod
from torch import Tensor, nn

from suite.contract import Paper, option

OVERLAP = 0.4  # of neighbouring windows, as nearly as a whole number of them gives it: Sec. 3.2
MOST = 7  # windows along the longer side, beyond those along the shorter


@dataclass
class SlidingGridMethod(RetrievalMethod):
    """The regions of R-MAC, kept apart instead of being summed: the best one counts.

    Chosen among layer 3 at 256, 320 and 384 pixels and layer 4 at 256 (mAP 24.0, 23.5, 24.8, 23.8). Two levels
    instead of three: 19.3 at 384.
    """

    paper = Paper("Particular Object Retrieval with Integral Max-Pooling of CNN Activations", "Tolias, Sicre, Jegou", "ICLR", 2016,
                  "https://arxiv.org/abs/1511.05879")
    tags = ("instance search", "training-free")
    standins = ("Windows are averaged, not max-pooled, so that regions differ from the other methods' by their places alone.",)

    levels: int = option(3, "sizes of windows: of level l, l fit along the shorter side with overlaps", bounds=(1, 8))

    def describer(self, network: nn.Module) -> Describer:
        return GridDescriber(network, self.layer, self.size, self.levels)


class GridDescriber(Describer):
    """Of windows; see `windows`."""

    def __init__(self, network: nn.Module, layer: int, size: int, levels: int) -> None:
        super().__init__(network, layer, size)
        self.levels = levels

    def regions(self, high: int, wide: int) -> Tensor:
        return windows(high, wide, self.levels)


def windows(high: int, wide: int, levels: int) -> Tensor:
    """The windows (n, 4) of a picture: of level l the side is 2 / (l + 1) of the shorter one, and l lie along that, evenly; along
    the longer side there are so many more that windows of level 1 overlap by nearly `OVERLAP`.
    """
    short, long = min(high, wide), max(high, wide)
    more = 0
    if long > short:
        more = min(range(1, MOST), key=lambda extra: abs((short - (long - short) / extra) / short - OVERLAP))
    found = []
    for level in range(1, levels + 1):
        side = 2 * short / (level + 1)
        down, across = (torch.linspace(0, length - side, level + (more if length > short else 0)) for length in (high, wide))
        corners = torch.cartesian_prod(across, down)
        found.append(torch.cat([corners, corners + side], 1))
    return torch.cat(found)
