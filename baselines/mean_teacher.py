"""Mean Teacher on A*HAR: a student learns few labels, and on all windows to agree with its own running average.

Narasimman et al., "A*HAR", arXiv 2101.04859, 2021, after Tarvainen and Valpola, NIPS 2017. Loss over a batch of B windows:
CE(student) summed over the labelled ones / B + c(t) mean_k (p_student - p_teacher)^2 summed over all / B, with
c(t) = rampup(t) * 100 * labelled / (all + labelled). The teacher sees the same windows under noise and dropout of its
own, gets no gradient, and is what is deployed. The paper's tables could not be read, so no number of it stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from suite.baselines._mean_teacher import Drawn, TeacherMethod, some
from torch import Generator

from suite.contract import Claim, Side, option
from suite.settings import SemiSupervised


@dataclass
class MeanTeacher(TeacherMethod):
    """Batches are drawn uniformly from all windows, labelled ones being there twice, or with a fixed share of labelled ones."""

    tags = ("semi-supervised",)
    # In 800 steps five labels a batch, as there are drawn from everything, are too few to learn from (18 % against 42 %
    # macro-F1 on embedded data after 300): half of a batch is labelled then, and a fifth of the paper's consistency is enough.
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **TeacherMethod.scales, "smoke": {**TeacherMethod.scales["smoke"], "labelled": 16},
        "short": {**TeacherMethod.scales["short"], "labelled": 50, "consistency": 20.0},
    }

    labelled: int = option(0, "labelled windows in each batch; 0 draws from all windows alike, as the paper", bounds=(0, 65536))

    def share(self, setting: SemiSupervised) -> float:
        """Of the labelled windows in a batch."""
        return min(1.0, self.labelled / self.batch) if self.labelled else super().share(setting)

    def draw(self, setting: SemiSupervised, generator: Generator) -> Drawn:
        few, many = setting.labelled, setting.unlabelled
        if self.labelled:
            first = some(len(few), min(self.labelled, self.batch), generator)
            second = some(len(many), self.batch - len(first), generator)
        else:
            rows = some(len(few) + len(many), self.batch, generator)
            first, second = rows[rows < len(few)], rows[rows >= len(few)] - len(few)
        return Drawn(torch.cat([few.batch(first, True, generator), many.batch(second, True, generator)]),
                     torch.cat([few.labels[first], many.labels[second]]))


def _claims() -> tuple[Claim, ...]:
    """The paper's finding: more accurate with few labels, and no help for the rare classes of a long tail."""
    ours, rival = Side("mean_teacher"), Side("supervised_cnn")
    found = []
    for what, imbalance, share in (("1 balanced", 1.0, 0.15), ("2a long tail", 0.0, 0.05)):
        found.append(Claim(
            what, "with few labels Mean Teacher is more accurate than the same network on the labels alone", task="astar_har",
            value="accuracy", kind="above", sides=(ours, rival), held_equal=(("total", 0.0), ("macs", 0.0)),
            task_options={"imbalance": imbalance, "label_share": share},
        ))
    found.append(Claim(
        "2b long tail", "the unlabelled windows do not help the rarest quarter of the classes (recall gains less than two points)",
        task="astar_har", value="tail_recall", kind="above", sides=(rival, ours), margin=-2.0,
        held_equal=(("total", 0.0), ("macs", 0.0)), task_options={"imbalance": 0.0, "label_share": 0.05},
    ))
    return tuple(found)


MeanTeacher.claims = _claims()
