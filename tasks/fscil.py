"""Few-shot class-incremental learning on CIFAR-100: base classes, then a few new ones at a time with a few images each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import harmonic_mean, mean
from typing import Any, ClassVar

import torch
from suite.tasks._cifar import BRIEF
from torch import Tensor

from suite.artifacts import Figure, Network, Probe
from suite.context import Run
from suite.contract import Metric, Scale, Task, option
from suite.data.pictures import Stored
from suite.data.sessions import Cifar100Sessions, Session
from suite.errors import UserError
from suite.settings import Sessions
from suite.train import CropFlip, Normalise, predict

CLASSES = 100
NORMALISE = Normalise((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))


@dataclass
class FscilTask(Task):
    """A method gives one network a session, and each is judged on the test images of all classes seen so far.

    Class k of the logits is the k-th class in the order of introduction: sessions one after the other, within one by the data
    set's own labels. Where the published lists of xyutao/fscil lie near the data they say which images those are, else the
    first of each class in the data's order: the same for every seed. A random tenth of the base images (at most 5,000) is held
    out for selection.
    """

    title = "Few-shot class-incremental learning on CIFAR-100"
    data = "cifar100"
    metrics = (
        Metric("accuracy"),  # of the last network on all classes
        Metric("mean_accuracy"),  # over the sessions, the base too
        Metric("drop", "points", higher_is_better=False, bounds=(-100.0, 100.0)),  # from the first accuracy to the last
        Metric("old_accuracy"),  # of the last network on the base classes
        Metric("new_accuracy"),  # of the last network on all others
        Metric("harmonic_mean"),  # of these two
        Metric("forgetting", "points", higher_is_better=False, bounds=(-100.0, 100.0)),  # what the base classes have lost
    )
    accepts = ("Network",)
    reference = "ncm"
    trained_on = False
    defaults: ClassVar[Mapping[str, Any]] = {"arch": "resnet20"}
    scales: ClassVar[Mapping[str, Scale]] = {
        "smoke": Scale(scratch=512, extra=256, options={"sessions": 2}),
        "short": Scale(scratch=140_000, extra=50_000, **BRIEF),
        "long": Scale(scratch=3_000_000, extra=1_000_000),
        "full": Scale(scratch=6_000_000, extra=6_000_000),  # nine tenths of it: 200 epochs of 27,000 base images
    }

    base: int = option(60, "classes of the first session", bounds=(2, 99))
    ways: int = option(5, "new classes in each later session", bounds=(1, 98))
    shots: int = option(5, "images of each new class", bounds=(1, 500))
    sessions: int = option(8, "sessions behind the first", bounds=(1, 98))
    padding: int = option(4, "pixels by which training images are padded before they are cropped", bounds=(0, 16), later=True)

    def __post_init__(self) -> None:
        if (found := self.base + self.ways * self.sessions) > CLASSES:
            raise UserError(f"{self.base} base classes and {self.sessions} sessions of {self.ways} are {found} classes and "
                            f"CIFAR-100 has {CLASSES}; choose smaller task.base, task.ways or task.sessions.")

    def dataset(self) -> Cifar100Sessions:
        return Cifar100Sessions(self.base, self.ways, self.shots)

    def parts(self, run: Run) -> list[Session]:
        """The rows and classes of the sessions, the base first. UserError where published lists are not what the options say."""
        found = self.dataset().sessions(run.data)[: self.sessions + 1]
        sizes = [(len(part.classes), len(part.train) // len(part.classes)) for part in found]
        wanted = [(self.base, sizes[0][1]), *[(self.ways, self.shots)] * self.sessions]
        if sizes != wanted:
            raise UserError(f"The lists of sessions near the data have (classes, images of each) {sizes}, and the options say "
                            f"{wanted}; choose task.base, task.ways, task.shots and task.sessions like them, or take them away.")
        return found

    def setting(self, run: Run) -> Sessions:
        images, parts = self.dataset().read(run.data, "train"), self.parts(run)
        base, *later = [renamed(images, part.train, parts) for part in parts]
        order = torch.randperm(len(base), generator=run.generator("split"))
        held = min(len(base) // 10, 5000)
        first = base.subset(order[held:]), base.subset(order[:held])
        return Sessions([first, *((part, None) for part in later)], [len(part.classes) for part in parts], shape=(3, 32, 32),
                        augment=CropFlip(NORMALISE, self.padding), normalise=NORMALISE)

    def test(self, run: Run, parts: Sequence[Session]) -> Stored:
        """The test images of some sessions together."""
        return renamed(self.dataset().read(run.data, "test"), torch.cat([part.test for part in parts]), parts)

    def evaluate(self, artifact: Network, run: Run) -> dict[str, float]:
        parts = self.parts(run)[: run.step + 1]
        if run.step >= len(parts):
            raise ValueError(f"fit gave a network for session {run.step}, and there are sessions 0 to {self.sessions}")
        images = self.test(run, parts)
        logits = predict(artifact.module, images, NORMALISE, run)
        if logits.shape[1] != (seen := sum(len(part.classes) for part in parts)):
            raise ValueError(f"the network of session {run.step} has {logits.shape[1]} outputs for the {seen} classes seen so far")
        artifact.spare |= {"predictions": logits.argmax(1), "labels": images.labels,
                           "outcomes": {"accuracy": logits.argmax(1) == images.labels}}
        return scores(logits.argmax(1), images.labels, self.base)

    def summarise(self, steps: list[dict[str, float]]) -> dict[str, float]:
        if len(steps) != self.sessions + 1:
            raise ValueError(f"fit gave {len(steps)} networks for {self.sessions + 1} sessions, and each must have its own")
        first, last = steps[0], steps[-1]
        return {**last, "mean_accuracy": mean(step["accuracy"] for step in steps), "drop": first["accuracy"] - last["accuracy"],
                "forgetting": first["old_accuracy"] - last["old_accuracy"]}

    def show(self, artifact: Network, run: Run) -> Iterable[Figure]:
        from matplotlib.figure import Figure as Canvas
        from sklearn.metrics import ConfusionMatrixDisplay

        canvas = Canvas(figsize=(6, 6), layout="constrained")
        ConfusionMatrixDisplay.from_predictions(
            artifact.spare["labels"].numpy(), artifact.spare["predictions"].numpy(), normalize="true", include_values=False,
            cmap="Greys", ax=canvas.add_subplot(), xticks_rotation=90,
        )
        yield Figure("confusion", canvas)

    def probe(self, artifact: Network, run: Run) -> Probe:
        images = self.dataset().read(run.data, "test")
        return Probe(artifact.module, NORMALISE(images.batch(torch.arange(4), False, run.generator("probe"))).split(1))


def renamed(images: Stored, rows: Tensor, parts: Sequence[Session]) -> Stored:
    """A copy of the images at `rows` with labels that count the classes of `parts` in the order of introduction."""
    number = torch.full((CLASSES,), -1)
    order = torch.tensor([label for part in parts for label in part.classes])
    number[order] = torch.arange(len(order))
    chosen = images.subset(rows)
    return replace(chosen, labels=number[chosen.labels])


def scores(predictions: Tensor, labels: Tensor, base: int) -> dict[str, float]:
    """Per cent of `predictions` (N,) that are the `labels` (N,): of all, of the first `base` classes, of the others and the
    harmonic mean of these two, 2 a b / (a + b), as soon as there are others.
    """
    right, old = (predictions == labels).double(), labels < base
    found = {"accuracy": 100 * right.mean().item(), "old_accuracy": 100 * right[old].mean().item(),
             "trivial_accuracy": 100 * labels.bincount().max().item() / len(labels)}
    if not old.all():
        found["new_accuracy"] = 100 * right[~old].mean().item()
        found["harmonic_mean"] = harmonic_mean([found["old_accuracy"], found["new_accuracy"]])
    return found
