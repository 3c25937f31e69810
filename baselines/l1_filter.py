"""Filter pruning: in every layer, the filters of smallest L1 norm go."""

from __future__ import annotations

from dataclasses import dataclass

from suite.baselines._pruning import PruningMethod, filters
from torch import Tensor

from suite.contract import Paper, Published
from suite.run import Run


@dataclass
class L1FilterMethod(PruningMethod):
    """Filters are masked and the next layer's inputs stay, so a layer's sparsity is that of 1xN at the same rate."""

    paper = Paper("Pruning Filters for Efficient ConvNets", "Li, Kadav, Durdanovic, Samet, Graf", "ICLR", 2017,
                  "https://arxiv.org/abs/1608.08710")
    tags = ("cnn/pruning-channel",)
    standins = ("Masked filters and 1xN's layers and fine-tuning, as in the 1xN comparison.",)
    published = (
        Published("imagenet", "top1", 66.730, "1xN README, Table 1", {"arch": "mobilenet_v2", "sparsity": 0.5}),
        Published("imagenet", "top1", 75.382, "1xN plotting data", {"arch": "resnet50", "sparsity": 0.5}),
    )

    def mask(self, weight: Tensor, run: Run, name: str) -> Tensor:
        return filters(weight.flatten(1).abs().sum(1), weight, self.sparsity)
