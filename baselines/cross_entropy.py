"""Cross-entropy on the labels as they are: the network that memorises noisy labels, and how well it did before it had.

Zhang, Bengio, Hardt, Recht, Vinyals, ICLR 2017, show that networks fit even random labels. The rival of methods for noisy
labels: the suite's usual recipe, judged after its last step and where it was best on clean validation images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from suite.baselines._noisy_labels import train_noisy
from torch import Tensor
from torch.nn import functional

from suite.artifacts import Network
from suite.context import Run
from suite.contract import Method, Paper, option
from suite.nn import build
from suite.settings import Classification
from suite.train import Batch, Clock, Recipe


@dataclass
class CrossEntropy(Method):
    """As the reference `plain`, with a look at the clean validation images now and then."""

    paper = Paper("Understanding deep learning requires rethinking generalization", "Zhang, Bengio, Hardt, Recht, Vinyals", "ICLR",
                  2017, "https://arxiv.org/abs/1611.03530")
    tags = ("label noise",)
    takes = ("Classification",)
    gives = "Network"
    scales = {
        "smoke": {"arch": "resnet8", "batch": 32, "looks": 2}, "short": {"batch": 64, "rate": 0.05, "looks": 20},
        "long": {"looks": 60},
    }
    standins = ("The recipe of the reference 'plain', one warm-up and one cosine: the strongest that the suite has.",)

    arch: str = option("resnet20", "network, see suite.nn.ARCHS")
    rate: float = option(0.1, "peak learning rate", bounds=(0, 10))
    batch: int = option(128, "images per step", bounds=(1, 65536))
    weight_decay: float = option(5e-4, "L2 penalty", bounds=(0, 1))
    looks: int = option(200, "times that the clean validation images are looked at", bounds=(1, 1000))

    def fit(self, setting: Classification, run: Run) -> Network:
        torch.manual_seed(run.seed("weights", self.arch))
        network = build(self.arch, setting.classes, setting.shape[1])
        recipe = Recipe(rate=self.rate, batch=self.batch, weight_decay=self.weight_decay)
        optimizer = recipe.optimizer(network)

        def update(logits: Tensor, batch: Batch, clock: Clock) -> Mapping[str, Tensor | float]:
            loss = functional.cross_entropy(logits, batch.targets)
            recipe.descend(optimizer, loss, clock.progress)
            return {"loss": loss}

        return train_noisy(network, setting, run, {"optimizer": optimizer}, update, batch=self.batch, looks=self.looks)
