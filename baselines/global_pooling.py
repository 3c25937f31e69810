"""Global average pooling: the whole picture is its only region, described by the mean of a classifier's map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from suite.baselines._retrieval import Describer, RetrievalMethod
from torch import Tensor, nn

from suite.contract import Paper


@dataclass
class GlobalPoolingMethod(RetrievalMethod):
    """One descriptor for each picture; a query's is that of its box."""

    paper = Paper("Aggregating Deep Convolutional Features for Image Retrieval", "Babenko, Lempitsky", "ICCV", 2015,
                  "https://arxiv.org/abs/1510.07493")
    tags = ("instance search", "training-free", "reference")
    standins = ("No centre prior, and whitening only by the option whiten.",)

    def describer(self, network: nn.Module) -> Describer:
        return WholeDescriber(network, self.layer, self.size)


class WholeDescriber(Describer):
    """Of the whole picture."""

    def regions(self, high: int, wide: int) -> Tensor:
        return torch.tensor([[0.0, 0.0, wide, high]])
