"""A*HAR's supervised baseline: the paper's network on the labelled windows alone, judged by its running average.

Narasimman et al., arXiv 2101.04859, 2021. As in the paper's code everything but the batches is Mean Teacher's, a small
consistency term included; ``consistency=0`` leaves cross-entropy alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from suite.baselines._mean_teacher import Drawn, TeacherMethod, some
from torch import Generator

from suite.settings import SemiSupervised


@dataclass
class SupervisedCNN(TeacherMethod):
    """All windows of a batch are labelled; the unlabelled ones are never looked at."""

    tags = ("reference",)

    def draw(self, setting: SemiSupervised, generator: Generator) -> Drawn:
        rows = some(len(setting.labelled), self.batch, generator)
        return Drawn(setting.labelled.batch(rows, True, generator), setting.labelled.labels[rows])
