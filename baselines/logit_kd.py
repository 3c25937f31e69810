"""Logit distillation: a small student learns a trained teacher's softened class probabilities beside the labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from suite.artifacts import Network
from suite.context import Run
from suite.contract import Method, Paper, option
from suite.nn import build
from suite.settings import Classification
from suite.train import Batch, Recipe, train


@dataclass
class LogitKD(Method):
    """The student starts from random weights and gets the whole budget; the teacher is a recorded reference."""

    paper = Paper("Distilling the Knowledge in a Neural Network", "Hinton, Vinyals, Dean", "arXiv", 2015,
                  "https://arxiv.org/abs/1503.02531")
    tags = ("distillation",)
    takes = ("Classification",)
    gives = "Network"
    scales = {
        "smoke": {"arch": "resnet8", "teacher": "resnet20", "batch": 32},
        # A teacher that the table's other rows train anyway; the reference's recipe.
        "short": {"arch": "resnet8", "teacher": "resnet20", "batch": 64, "rate": 0.05},
    }
    standins = ("Temperature 4 and weight 0.9 as is common on CIFAR; the paper varies both by task.",)

    arch: str = option("resnet20", "the student")
    teacher: str = option("resnet56", "the teacher, a reference of the task")
    temperature: float = option(4.0, "T, Eq. 1", bounds=(0.1, 100))
    weight: float = option(0.9, "share of the soft target in the loss", bounds=(0, 1))
    rate: float = option(0.1, "peak learning rate", bounds=(0, 10))
    batch: int = option(128, "images per step", bounds=(1, 65536))
    weight_decay: float = option(5e-4, "L2 penalty", bounds=(0, 1))

    def references(self) -> tuple[str, ...]:
        return (self.teacher,)

    def fit(self, setting: Classification, run: Run) -> Network:
        teacher = run.reference(self.teacher).module.eval().requires_grad_(False).to(run.device)
        torch.manual_seed(run.seed("weights", self.arch))
        student = build(self.arch, setting.classes, setting.shape[1])

        def loss(logits: Tensor, batch: Batch) -> Tensor:
            with torch.no_grad():
                target = teacher(batch.inputs).float()
            return distillation_loss(logits, target, batch.targets, self.temperature, self.weight)

        recipe = Recipe(rate=self.rate, batch=self.batch, weight_decay=self.weight_decay)
        train(student, setting.train, run, augment=setting.augment, recipe=recipe, loss=loss)
        return Network(student)


def distillation_loss(logits: Tensor, target: Tensor, labels: Tensor, temperature: float, weight: float) -> Tensor:
    """(1 - w) CE(labels) + w T^2 KL(softmax(target / T) || softmax(logits / T)), a mean over the batch.

    `logits`, `target` (B, K), `labels` (B,). The factor T^2 keeps the soft gradient's size as T changes (Sec. 2).
    """
    soft = functional.kl_div(functional.log_softmax(logits / temperature, 1), functional.log_softmax(target / temperature, 1),
                             reduction="batchmean", log_target=True)
    return (1 - weight) * functional.cross_entropy(logits, labels) + weight * temperature**2 * soft
