"""Global average pooling: the whole picture is its only region, described by the mean of a classifier's map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from suite.baselines._retrieval import Describer, RetrievalMethod
from torch import Tensor, nn

from suite.contract import Paper


@dataclass
class GlobalPoolingMethod(RetrievalMethod):
    """One descriptor for each picture; a query's is that of its box.

    Chosen among layers 3 and 4 at 256 and 384 pixels (mAP 14.4, 16.6, 12.3, 13.8).
    """

    paper = Paper("Aggregating Deep Convolutional Features for Image Retrieval", "Babenko, Lempitsky", "ICCV", 2015,
                  "https://arxiv.org/abs/1510.07493")
    tags = ("instance search", "training-free", "reference")
    standins = ("No centre prior, and whitening only by the option whiten.",)
    scales = RetrievalMethod.scales | {scale: {"arch": "narrow_resnet10", "size": 256, "layer": 4} for scale in ("short", "long")}

    def describer(self, network: nn.Module) -> Describer:
        return WholeDescriber(network, self.layer, self.size)


class WholeDescriber(Describer):
    """Of the whole picture."""

    def regions(self, high: int, wide: int) -> Tensor:
        return torch.tensor([[0.0, 0.0, wide, high]])
