"""CIFAR-10 with wrong training labels, drawn or given by people (CIFAR-10N): accuracy, and the share of labels put right.

The drawn noise is that of Yi and Wu, "Probabilistic End-to-end Noise Correction for Learning with Noisy Labels", CVPR 2019, in
their code. The labels that people gave are those of Wei et al., "Learning with Noisy Labels Revisited", ICLR 2022.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from suite.tasks.cifar10 import Cifar10Task
from torch import Generator, Tensor

from suite.artifacts import Figure, Network
from suite.context import Run
from suite.contract import Metric, option
from suite.data.cifar import Cifar10
from suite.data.cifar10n import Cifar10N
from suite.metrics import confusion
from suite.settings import Classification

#: Names of the labels that people gave, in CIFAR-10N's file.
HUMAN = {"aggregate": "aggre_label", "random1": "random_label1", "random2": "random_label2", "random3": "random_label3",
         "worse": "worse_label"}
#: What a class is taken for: truck for automobile, bird for airplane, deer for horse, cat and dog for each other.
MISTAKEN = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}


@dataclass
class NoisyLabelsTask(Cifar10Task):
    """The labels of the training images are noisy; those of the images to select on (a tenth, at most 5,000) and to test are right.

    The true training labels are nowhere in the setting. A method that corrects labels puts its own, int64 (N,) in the order of
    the setting's training images, into ``artifact.spare["labels"]``, and the network that did best on the clean validation
    images into ``artifact.spare["best"]``; the artifact is the network after the last step. For a method without them
    `recovered` is the share of right labels that it was given (`clean_share`), and `best_top1` is `top1`.
    """

    title = "CIFAR-10 with noisy labels"
    data = "cifar10"
    version = 1
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("top1"), Metric("best_top1"), Metric("recovered"))
    trained_on = False  # with what would it be trained on, but the same noise?

    noise: str = option("symmetric", "how labels were drawn, or which of the labels that people gave",
                        choices=("symmetric", "asymmetric", *HUMAN))
    rate: float = option(0.5, "share of the labels that are drawn, r; with symmetric noise 0.9 r become wrong", bounds=(0, 1))

    def dataset(self) -> Cifar10:
        return Cifar10N() if self.noise in HUMAN else Cifar10()

    def setting(self, run: Run) -> Classification:
        clean = super().setting(run)
        _, noisy = self.labels(run)
        return replace(clean, train=replace(clean.train, labels=noisy))  # type: ignore[type-var]  # a dataclass, as CIFAR's are

    def labels(self, run: Run) -> tuple[Tensor, Tensor]:
        """The true and the noisy labels int64 (N,) of the training images, in the setting's order."""
        true = self.read(run, "train").labels
        rows, _ = self.split(len(true), run)
        if self.noise in HUMAN:
            given = torch.from_numpy(Cifar10N().label_sets(run.data)[HUMAN[self.noise]])
            return true[rows], given[rows]
        return true[rows], corrupted(true[rows], self.noise, self.rate, run.generator("noise"))

    def evaluate(self, artifact: Network, run: Run) -> dict[str, float]:
        """Beside the scores the share of right labels from the start, and what always naming the most frequent label scores."""
        true, noisy = self.labels(run)
        corrected = artifact.spare.get("labels", noisy)
        if corrected.shape != true.shape:
            raise ValueError(f"the corrected labels are {tuple(corrected.shape)}, the training images {len(true)}")
        scores = super().evaluate(artifact, run)
        best = artifact.spare.get("best")
        guess = self.read(run, "test").labels == noisy.mode().values
        return {
            **scores, "best_top1": super().evaluate(Network(best), run)["top1"] if best else scores["top1"],
            "recovered": agreement(corrected, true), "clean_share": agreement(noisy, true),
            "trivial_top1": 100.0 * guess.double().mean().item(),
        }

    def show(self, artifact: Network, run: Run) -> Iterable[Figure]:
        """Beside the confusion of the test images what became of the training labels: true, noisy, corrected."""
        from matplotlib.figure import Figure as Canvas

        yield from super().show(artifact, run)
        true, noisy = self.labels(run)
        panels = [("true", true, "noisy", noisy)]
        if "labels" in artifact.spare:
            corrected = artifact.spare["labels"]
            panels += [("true", true, "corrected", corrected), ("noisy", noisy, "corrected", corrected)]
        canvas = Canvas(figsize=(5 * len(panels), 5.6), layout="constrained")
        for axes, (rows, first, columns, second) in zip(canvas.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            shares = transition(first, second, self.classes)
            axes.imshow(shares, cmap="Greys", vmin=0, vmax=100)
            for row, column in torch.nonzero(shares >= 1).tolist():
                colour = "white" if shares[row, column] > 50 else "black"
                axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", fontsize=8, color=colour)
            axes.set(xlabel=f"{columns} label", ylabel=f"{rows} label", title=f"{agreement(first, second):.1f} % the same",
                     xticks=range(self.classes), yticks=range(self.classes))
        yield Figure("labels", canvas)


def corrupted(labels: Tensor, noise: str, rate: float, generator: Generator) -> Tensor:
    """`labels` (N,) of ten classes, each replaced with probability `rate`: ``"symmetric"`` by a uniform draw from all classes, the
    true one too, ``"asymmetric"`` by the class that its own is `MISTAKEN` for, if any."""
    chosen = torch.rand(len(labels), generator=generator) < rate
    if noise == "symmetric":
        return torch.where(chosen, torch.randint(10, labels.shape, generator=generator), labels)
    return torch.where(chosen, torch.tensor([MISTAKEN.get(label, label) for label in range(10)])[labels], labels)


def agreement(one: Tensor, other: Tensor) -> float:
    """Per cent of two rows of labels (N,) that are the same."""
    return 100.0 * (one == other).double().mean().item()


def transition(first: Tensor, second: Tensor, classes: int) -> Tensor:
    """How many per cent of the labels i (row) in `first` are j (column) in `second`, float64 (K, K)."""
    counts = confusion(second, first, classes).double()
    return 100.0 * counts / counts.sum(1, keepdim=True).clamp(min=1)
