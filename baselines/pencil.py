"""PENCIL: a label distribution for every training image, learned beside the network, puts wrong labels right.

Yi and Wu, "Probabilistic End-to-end Noise Correction for Learning with Noisy Labels", CVPR 2019 (arXiv 1903.07788), and its
public code, yikun2019/PENCIL. For a batch of B images of K classes, f = softmax(network), y^ the noisy labels, and
y^d = softmax(Y~) with the label logits Y~ (N, K), at first 10 at the noisy label:

    L = L_c / K + alpha L_o + beta L_e / K
    L_c = mean_i sum_k f_ik (log f_ik - log y^d_ik)    classification, the network's distribution first
    L_o = mean_i -log y^d_i[y^_i]                      compatibility with the noisy label
    L_e = mean_i sum_k -f_ik log f_ik                  entropy

Three stages: cross-entropy at a constant large rate, under which wrong labels are not memorised; L, and after each step of the
network Y~ <- Y~ - lambda dL/dY~; L_c / K on labels that stay, at a falling rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from suite.baselines._noisy_labels import train_noisy
from torch import Tensor
from torch.nn import functional

from suite.artifacts import Network
from suite.context import Run
from suite.contract import Claim, Method, Paper, Side, option
from suite.nn import build
from suite.settings import Classification
from suite.train import Batch, Clock, Recipe

#: What the claims have in common.
AGAINST: dict[str, Any] = {"task": "noisy_labels", "kind": "above", "sides": (Side("pencil"), Side("cross_entropy")),
                           "held_equal": (("total", 0.0), ("macs", 0.0)),
                           # At short no network has learned enough to correct by: cross-entropy itself only begins to half-way.
                           "least_scale": "long"}
SURE = 10.0  # the first logit of the noisy label; the others' are 0


class Labels:
    """The label logits Y~ (N, K) of all training images."""

    def __init__(self, labels: Tensor, classes: int) -> None:
        self.logits = SURE * functional.one_hot(labels, classes).float()

    def state_dict(self) -> dict[str, Tensor]:
        return {"logits": self.logits}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        self.logits.copy_(state_dict["logits"])


@dataclass
class Pencil(Method):
    """One optimizer for all stages: its momentum goes on where they meet, and the clock changes the loss and the rate."""

    paper = Paper("Probabilistic End-to-end Noise Correction for Learning with Noisy Labels", "Yi, Wu", "CVPR", 2019,
                  "https://arxiv.org/abs/1903.07788")
    tags = ("label noise",)
    takes = ("Classification",)
    gives = "Network"
    scales = {
        "smoke": {"arch": "resnet8", "batch": 32, "looks": 2},
        # Fifteen epochs: longer until there is something to correct by, and then labels move far at each of few visits.
        "short": {"batch": 64, "pace": 4800.0, "learned": 0.45, "corrected": 0.75, "looks": 20},
        "long": {"looks": 60},
    }
    claims = (
        Claim("1a last", "with half of the labels drawn at random PENCIL ends more accurate than cross-entropy",
              value="top1", task_options={"noise": "symmetric", "rate": 0.5}, **AGAINST),
        Claim("1b best", "and not a point less than cross-entropy had when it was best on clean images",
              value="top1", rival_value="best_top1", margin=-1.0, task_options={"noise": "symmetric", "rate": 0.5}, **AGAINST),
        Claim("2 recovered", "more training labels are right after correction than before, by five points",
              value="recovered", margin=5.0, task_options={"noise": "symmetric", "rate": 0.5}, **AGAINST),
        Claim("3 asymmetric", "with 40 % of five classes taken for their likes PENCIL ends more accurate than cross-entropy",
              value="top1", task_options={"noise": "asymmetric", "rate": 0.4}, **AGAINST),
    )
    standins = (
        "A ResNet of the suite instead of PreAct ResNet-32.",
        "alpha: the paper's values by kind and rate of noise could not be read. A label settles at (f / K + alpha y^) / "
        "(1 / K + alpha), so it changes only where f prefers another class by more than alpha K: with the public code's 0.4 never, "
        "by its own form of the compatibility neither (that takes alpha < 2 / K); with 0.02 and ten classes from 0.2 on.",
        "The rates of the third stage are 0.2, 0.02 and 0.002; the public code divides to whole numbers and has 0.2, 0 and 0.",
        "At short, where an image is seen fifteen times, labels move between 45 and 75 % of the steps, at eight times lambda. No "
        "network has learned enough by then to correct by: as many labels become wrong as right. What is claimed needs long.",
    )

    arch: str = option("resnet32", "network, see suite.nn.ARCHS")
    alpha: float = option(0.02, "weight of the compatibility; from 1 / K on no label changes", bounds=(0, 100))
    beta: float = option(0.1, "weight of the entropy", bounds=(0, 100))
    pace: float = option(600.0, "lambda for 128 images of 10 classes; it grows with both, so that labels move alike",
                         bounds=(0, 1e6))
    rate: float = option(0.06, "learning rate of the first two stages", bounds=(0, 10))
    last_rate: float = option(0.2, "learning rate of the third stage; a tenth and a hundredth in its later thirds", bounds=(0, 10))
    learned: float = option(70 / 320, "share of the steps behind which labels are corrected", bounds=(0, 1))
    corrected: float = option(200 / 320, "share of the steps behind which labels stay", bounds=(0, 1))
    twice: bool = option(False, "softmax twice in the compatibility, as in the public code: bounded and much weaker")
    batch: int = option(128, "images per step", bounds=(1, 65536))
    weight_decay: float = option(1e-4, "L2 penalty", bounds=(0, 1))
    looks: int = option(320, "times that the clean validation images are looked at", bounds=(1, 1000))

    def fit(self, setting: Classification, run: Run) -> Network:
        torch.manual_seed(run.seed("weights", self.arch))
        network = build(self.arch, setting.classes, setting.shape[1])
        optimizer = torch.optim.SGD(network.parameters(), lr=self.rate, momentum=0.9, weight_decay=self.weight_decay)
        labels = Labels(setting.train.labels.to(run.device), setting.classes)

        def update(logits: Tensor, batch: Batch, clock: Clock) -> Mapping[str, Tensor | float]:
            if clock.step < self.learned * clock.steps:
                loss = functional.cross_entropy(logits, batch.targets)
                self._descend(optimizer, loss, clock)
                return {"loss": loss}
            rows = labels.logits[batch.index].requires_grad_()
            parts, classes = losses(logits, rows, batch.targets, self.twice), logits.shape[1]
            loss = parts.classification / classes
            if moving := clock.step < self.corrected * clock.steps:
                loss = loss + self.alpha * parts.compatibility + self.beta * parts.entropy / classes
            self._descend(optimizer, loss, clock)
            if moving:
                labels.logits[batch.index] = rows.detach() - self.step_size(*rows.shape) * rows.grad  # type: ignore[operator]
            return {"loss": loss, **parts._asdict(), "moved": (rows.argmax(1) != batch.targets).float().mean()}

        keep = {"optimizer": optimizer, "labels": labels}
        found = train_noisy(network, setting, run, keep, update, batch=self.batch, looks=self.looks)
        found.spare["labels"] = labels.logits.argmax(1).cpu()
        return found

    def step_size(self, size: int, classes: int) -> float:
        """lambda for batches of `size` images: the loss is a mean over them and the classes, and lambda / (B K) stays."""
        return self.pace * (size * classes) / (128 * 10)

    def _descend(self, optimizer: torch.optim.Optimizer, loss: Tensor, clock: Clock) -> None:
        """One step at the rate of the clock's stage."""
        if clock.step < self.corrected * clock.steps:
            Recipe(rate=self.rate, warmup=0, schedule="constant").descend(optimizer, loss, 1.0)
            return
        recipe = Recipe(rate=self.last_rate, warmup=0, schedule="steps", milestones=(1 / 3, 2 / 3))
        recipe.descend(optimizer, loss, (clock.progress - self.corrected) / (1 - self.corrected))


class Losses(NamedTuple):
    """The three terms, each a mean over the batch."""

    classification: Tensor
    compatibility: Tensor
    entropy: Tensor


def losses(logits: Tensor, rows: Tensor, labels: Tensor, twice: bool = False) -> Losses:
    """L_c, L_o and L_e from the network's logits (B, K), the label logits (B, K) and the noisy labels (B,).

    `twice` takes the softmax of the label distribution again in L_o, as the public code does.
    """
    ours, theirs = functional.log_softmax(logits, 1), functional.log_softmax(rows, 1)
    return Losses(
        (ours.exp() * (ours - theirs)).sum(1).mean(),
        functional.cross_entropy(rows.softmax(1) if twice else rows, labels),
        -(ours.exp() * ours).sum(1).mean(),
    )
