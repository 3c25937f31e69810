"""Unstructured pruning: in every layer, the weights of smallest magnitude go."""

from __future__ import annotations

from dataclasses import dataclass

from suite.baselines._pruning import PruningMethod
from torch import Tensor

from suite.context import Run
from suite.contract import Paper, Published
from suite.nn.selection import lowest


@dataclass
class MagnitudeMethod(PruningMethod):
    """The finest pattern: the accuracy to reach, and the one that a CPU can use least."""

    paper = Paper("Learning both Weights and Connections for Efficient Neural Networks", "Han, Pool, Tran, Dally", "NeurIPS",
                  2015, "https://arxiv.org/abs/1506.02626")
    tags = ("cnn/pruning-unstructured",)
    standins = (*PruningMethod.standins,
                "One shot at one rate per layer and 1xN's fine-tuning, as in the 1xN comparison, instead of Han's iterations.")
    published = (
        Published("imagenet", "top1", 71.146, "1xN README, Table 1", {"arch": "mobilenet_v2", "sparsity": 0.5}),
        Published("imagenet", "top1", 77.088, "1xN plotting data", {"arch": "resnet50", "sparsity": 0.5}),
    )

    def mask(self, weight: Tensor, run: Run, name: str) -> Tensor:
        return lowest(weight.abs(), self.sparsity)
