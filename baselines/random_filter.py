"""Filter pruning without a criterion: in every layer, filters drawn at random go."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from suite.baselines._pruning import FilterPruningMethod
from torch import Tensor

from suite.context import Run
from suite.contract import Paper


@dataclass
class RandomFilterMethod(FilterPruningMethod):
    """What any filter criterion has to beat."""

    paper = Paper("Recovering from Random Pruning", "Mittal, Bhardwaj, Khapra, "
                  "Ravindran", "WACV", 2018, "https://arxiv.org/abs/1801.10447")
    tags = ("cnn/pruning-channel",)

    def scores(self, weight: Tensor, run: Run, name: str) -> Tensor:
        return torch.rand(len(weight), generator=run.generator("filters", name))
