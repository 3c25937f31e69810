"""Deep Mutual Learning: networks of one architecture learn the labels and each other's softened class probabilities.

Zhang, Xiang, Hospedales, Lu: "Deep Mutual Learning", CVPR 2018. Loss of network i of S, with T = `temperature`:
CE(z_i, y) + weight T^2 / (S - 1) sum over j != i of KL(softmax(z_j / T) || softmax(z_i / T)), no gradient to z_j.

Deployed is the network that is best on the validation images after the last step (the first of equals); that evaluation is
not charged. The other S - 1 networks are charged as helpers. ``weight=0`` trains the same networks alone, side by side, from the
same random weights on the same batches: the rival whose total and final budget equal those of a method with as many networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from suite.baselines._online import OnlineMethod, agreement, validated
from torch import Tensor
from torch.nn import functional

from suite.artifacts import Network
from suite.context import Run
from suite.contract import Paper, option
from suite.settings import Classification


@dataclass
class MutualLearningMethod(OnlineMethod):
    """All networks are treated alike; each has its own SGD."""

    paper = Paper("Deep Mutual Learning", "Zhang, Xiang, Hospedales, Lu", "CVPR", 2018, "https://arxiv.org/abs/1706.00384")
    tags = ("distillation", "online")
    standins = (
        "Recipe, augmentation and temperature are those of FFSD, so that only the losses differ; all step from one forward pass.",
        "The network that is best on the validation images is deployed, after the last step.",
        "Below scale full the recipe of 'plain': one warm-up and one cosine, its weight decay, the task's own augmentation.",
        "The networks share the task's budget: each sees its own part of the images that a network alone would see.",
    )

    weight: float = option(1.0, "of what the others say; 0 trains each network alone", bounds=(0, 1000))

    def fit(self, setting: Classification, run: Run) -> Network:
        students = self.networks(setting, run, self.students)

        def losses(inputs: Tensor, targets: Tensor, progress: float) -> Mapping[str, Tensor]:
            logits = [student(inputs).float() for student in students]
            return {f"student_{number + 1}": functional.cross_entropy(item, targets)
                    + (self.weight * agreement(logits, number, self.temperature) if self.weight else 0.0)
                    for number, item in enumerate(logits)}

        learners = {f"student_{number + 1}": self.learner(student) for number, student in enumerate(students)}
        self.learn(setting, run, learners, losses, helpers=self.students - 1)
        scores = validated(students, setting, run)
        best = int(torch.tensor(scores).argmax())
        run.note(val_top1=scores[best], val_top1_of_all=scores, deployed=best + 1)
        return Network(students[best])
