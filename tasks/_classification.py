"""What the classification tasks share: the split, the scores, the confusion matrix, the probe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from suite.artifacts import Figure, Network, Probe
from suite.context import Run
from suite.contract import Metric, Task, option
from suite.errors import UserError
from suite.metrics import accuracy
from suite.settings import Augment, Classification, Images
from suite.train import Normalise, predict


@dataclass
class ClassificationTask(Task):
    """Train on the training images less a random tenth (at most 5,000) kept for selection; judge on the test images."""

    metrics: ClassVar[tuple[Metric, ...]] = (Metric("top1"), Metric("top5"))
    accepts: ClassVar[tuple[str, ...]] = ("Network",)
    reference: ClassVar[str] = "plain"
    classes: ClassVar[int]
    archs: ClassVar[tuple[str, ...]]
    mean: ClassVar[tuple[float, ...]]
    deviation: ClassVar[tuple[float, ...]]

    weights: str = option("", "a state-dict file that the reference starts from instead of random weights")

    def __post_init__(self) -> None:
        if self.weights and not Path(self.weights).is_file():
            raise UserError(f"There is no state-dict file '{self.weights}'; name one with task.weights=FILE.")

    def side(self) -> int:
        """Height and width of the images as evaluated, in pixels."""
        return 32

    def augment(self) -> Augment:
        """The training augmentation."""
        raise NotImplementedError

    def read(self, run: Run, split: str) -> Images:
        """The images of a split; UserError where they cannot be read."""
        return self.dataset().read(run.data, split)  # type: ignore[arg-type]

    def split(self, count: int, run: Run) -> tuple[Tensor, Tensor]:
        """The rows of `count` training images to train on and those to select on, both in random order."""
        order = torch.randperm(count, generator=run.generator("split"))
        held = min(count // 10, 5000)
        return order[held:], order[:held]

    def setting(self, run: Run) -> Classification:
        images = self.read(run, "train")
        train, val = self.split(len(images), run)
        classes = max(self.classes, int(images.labels.max()) + 1) if self.classes else int(images.labels.max()) + 1
        return Classification(
            images.subset(train), images.subset(val), classes, (3, self.side(), self.side()), self.augment(),
            Normalise(self.mean, self.deviation), self.archs, self.weights,
        )

    def evaluate(self, artifact: Network, run: Run) -> dict[str, float]:
        images = self.read(run, "test")
        logits = predict(artifact.module, images, Normalise(self.mean, self.deviation), run)
        artifact.spare["predictions"] = predictions = logits.argmax(1)
        artifact.spare["outcomes"] = {"top1": predictions == images.labels}
        scores = {"top1": accuracy(logits, images.labels), "top5": accuracy(logits, images.labels, 5)}
        kept = {name: score for name, score in scores.items() if name in {metric.name for metric in self.metrics}}
        # What naming the most frequent classes scores, whatever the image.
        shares = 100 * images.labels.bincount().sort(descending=True).values / len(images)
        return kept | {f"trivial_{name}": float(shares[:first].sum()) for name, first in (("top1", 1), ("top5", 5)) if name in kept}

    def show(self, artifact: Network, run: Run) -> Iterable[Figure]:
        from matplotlib.figure import Figure as Canvas
        from sklearn.metrics import ConfusionMatrixDisplay

        labels = self.read(run, "test").labels
        canvas = Canvas(figsize=(6, 6), layout="constrained")
        ConfusionMatrixDisplay.from_predictions(
            labels.numpy(), artifact.spare["predictions"].numpy(), normalize="true", include_values=False,
            cmap="Greys", ax=canvas.add_subplot(),
        )
        yield Figure("confusion", canvas)

    def probe(self, artifact: Network, run: Run) -> Probe:
        images = self.read(run, "test")
        chosen = images.batch(torch.arange(4), False, run.generator("probe"))
        return Probe(artifact.module, Normalise(self.mean, self.deviation)(chosen).split(1))
