"""Filter pruning: in every layer, the filters of smallest L1 norm go."""

from __future__ import annotations

from dataclasses import dataclass

from suite.baselines._pruning import FilterPruningMethod
from torch import Tensor

from suite.context import Run
from suite.contract import Paper, Published


@dataclass
class L1FilterMethod(FilterPruningMethod):
    """The same share of the filters goes in every layer that can be cut; a residual stream loses the sum's lowest."""

    paper = Paper("Pruning Filters for Efficient ConvNets", "Li, Kadav, Durdanovic, Samet, Graf", "ICLR", 2017,
                  "https://arxiv.org/abs/1608.08710")
    tags = ("cnn/pruning-channel",)
    standins = (*FilterPruningMethod.standins,
                "One rate for all layers and 1xN's fine-tuning, instead of rates by each layer's sensitivity.")
    published = (
        Published("imagenet", "top1", 66.730, "1xN README, Table 1", {"arch": "mobilenet_v2", "sparsity": 0.5, "masked": True}),
        Published("imagenet", "top1", 75.382, "1xN plotting data", {"arch": "resnet50", "sparsity": 0.5, "masked": True}),
    )

    def scores(self, weight: Tensor, run: Run, name: str) -> Tensor:
        return weight.flatten(1).abs().sum(1)
