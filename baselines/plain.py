"""The network itself, trained from scratch; or a reference trained on, the rival of everything that starts from one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from suite.artifacts import Network
from suite.context import Run
from suite.contract import Method, Paper, option
from suite.nn import build
from suite.nn.weights import load_weights
from suite.settings import Classification
from suite.train import Recipe, train


@dataclass
class Plain(Method):
    """SGD on cross-entropy. With ``task.weights=FILE`` the network starts from the user's state-dict and is not trained."""

    paper = Paper("Deep Residual Learning for Image Recognition", "He, Zhang, Ren, Sun", "CVPR", 2016,
                  "https://arxiv.org/abs/1512.03385")
    tags = ("reference",)
    takes = ("Classification",)
    gives = "Network"
    # Few epochs on few images: twice the steps at half the rate gave two points more (77 against 75 % on the CIFAR-10 subset).
    scales = {"smoke": {"batch": 32}, "short": {"batch": 64, "rate": 0.05}}
    standins = ("One warm-up and one cosine instead of steps, at every scale: it needs fewer epochs for the same accuracy.",)

    arch: str = option("resnet20", "network, see suite.nn.ARCHS")
    starts: Literal["scratch", "reference"] = option("scratch", "from random weights, or train the reference on")
    rate: float = option(0.1, "peak learning rate from scratch", bounds=(0, 10))
    further_rate: float = option(0.05, "peak learning rate when training a reference on", bounds=(0, 10))
    batch: int = option(128, "images per step", bounds=(1, 65536))
    weight_decay: float = option(5e-4, "L2 penalty", bounds=(0, 1))

    def fit(self, setting: Classification, run: Run) -> Network:
        rate = self.rate
        if self.starts == "reference":
            network, rate = run.reference(self.arch).module, self.further_rate
        else:
            torch.manual_seed(run.seed("weights", self.arch))
            network = build(self.arch, setting.classes, setting.shape[1])
            if setting.weights:
                load_weights(network, setting.weights)
                return Network(network)
        recipe = Recipe(rate=rate, batch=self.batch, weight_decay=self.weight_decay)
        train(network, setting.train, run, augment=setting.augment, recipe=recipe)
        return Network(network)
