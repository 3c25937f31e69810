"""Mean Teacher on A*HAR: a student learns few labels, and on all windows to agree with its own running average.

Narasimman et al., "A*HAR", arXiv 2101.04859, 2021, after Tarvainen and Valpola, NIPS 2017. Loss over a batch of B windows:
CE(student) summed over the labelled ones / B + c(t) mean_k (p_student - p_teacher)^2 summed over all / B, with
c(t) = rampup(t) * 100 * labelled / (all + labelled). The teacher sees the same windows under noise and dropout of its
own, gets no gradient, and is what is deployed. The paper's tables could not be read, so no number of it stands here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from suite.baselines._mean_teacher import Drawn, TeacherMethod, some
from torch import Generator

from suite.contract import option
from suite.settings import SemiSupervised


@dataclass
class MeanTeacher(TeacherMethod):
    """Batches are drawn uniformly from all windows, labelled ones being there twice, or with a fixed share of labelled ones."""

    tags = ("semi-supervised",)

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
