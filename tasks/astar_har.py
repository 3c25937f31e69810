"""A*HAR: activities from windows of body-worn sensors, long-tailed, few of them labelled (Narasimman et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from suite.artifacts import Figure, Network, Probe
from suite.context import Run
from suite.contract import Metric, Scale, Task, option
from suite.data.har import UNLABELLED, AstarHar
from suite.data.windows import Standardise, Windows, choose_labelled, hold_out, long_tail
from suite.errors import UserError
from suite.metrics import confusion, f1_by_class, recall_by_class
from suite.settings import SemiSupervised
from suite.train import predict


@dataclass
class AstarHarTask(Task):
    """Semi-supervised activity recognition in A*HAR's npz layout.

    About a tenth of the training windows are held out for selection, whole subjects where the file names them, else blocks
    of every class, and nothing that overlaps them is trained on. Channels are standardised by what is left of these alone.
    A part `unlabelled` that the file may have makes the windows without labels more, thinned by `imbalance` like the others.
    """

    title = "A*HAR activity recognition"
    data = "astar_har"
    version = 1
    metrics = tuple(Metric(name) for name in ("macro_f1", "accuracy", "tail_recall"))
    accepts = ("Network",)
    reference = "supervised_cnn"
    scales: ClassVar[Mapping[str, Scale]] = {
        "smoke": Scale(scratch=256, extra=256),
        "short": Scale(scratch=80_000, extra=40_000),
        "long": Scale(scratch=600_000, extra=300_000),
        "full": Scale(scratch=3_750_000, extra=3_750_000, options={"label_share": 288 / 17_383}),  # 37,500 steps of 100
    }

    label_share: float = option(0.05, "share of the windows with labels; the paper's: 0.0166, 0.0345, 0.069, 1", bounds=(0, 1))
    label_choice: Literal["balanced", "proportional"] = option("balanced", "labels for all classes alike, or as they are frequent")
    imbalance: float = option(0.0, "most frequent class to rarest, windows beyond are left out; 0: all stay", bounds=(0, 1000))
    unlabelled: int = option(0, "people in the embedded data who wore sensors and gave no labels; 24 make three times the windows",
                             bounds=(0, 1000), later=True)

    def __post_init__(self) -> None:
        if not self.label_share:
            raise UserError("label_share=0 leaves no label to learn from; give a share above 0, for example task.label_share=0.05.")
        if 0 < self.imbalance < 1:
            raise UserError(f"imbalance={self.imbalance:g} is no ratio; give 1 for equal classes, more for a tail, 0 for all.")

    def dataset(self) -> AstarHar:
        return AstarHar(self.unlabelled)

    def setting(self, run: Run) -> SemiSupervised:
        windows, (pool, val) = self._parts(run)
        train = windows.subset(pool)
        count = max(1, round(self.label_share * len(pool)))
        rows = choose_labelled(train.labels, count, self.label_choice == "balanced", run.generator("labels"))
        every = train.joined(self._further(run)) if UNLABELLED in self.dataset().splits(run.data) else train
        return SemiSupervised(train.subset(rows), every.unlabelled(), windows.subset(val), self._classes(windows),
                              (1, *windows.values.shape[2:]), Standardise.fitted(train))

    def evaluate(self, artifact: Network, run: Run) -> dict[str, float]:
        """Beside the scores of the artifact those of a guess that always names the most frequent class of the training windows."""
        windows, (pool, _) = self._parts(run)
        test = self.dataset().read(run.data, "test")
        classes = self._classes(windows)
        counts = windows.labels[pool].bincount(minlength=classes)
        predictions = predict(artifact.module, test, Standardise.fitted(windows.subset(pool)), run).argmax(1)
        artifact.spare["outcomes"] = {"accuracy": predictions == test.labels}
        artifact.spare["confusion"] = matrix = confusion(predictions, test.labels, classes)
        guess = confusion(counts.argmax().expand_as(predictions), test.labels, classes)
        rarest = self._rarest(windows.labels, test.labels)
        return {
            "macro_f1": _macro_f1(matrix), "accuracy": _accuracy(matrix),
            "tail_recall": recall_by_class(matrix)[rarest].mean().item(),
            "trivial_macro_f1": _macro_f1(guess), "trivial_accuracy": _accuracy(guess),
            **{f"f1_class_{label:02d}": score for label, score in enumerate(f1_by_class(matrix).tolist())},
        }

    def show(self, artifact: Network, run: Run) -> Iterable[Figure]:
        """The confusion matrix by true class, with each class's F1."""
        from matplotlib.figure import Figure as Canvas
        from sklearn.metrics import ConfusionMatrixDisplay

        matrix = artifact.spare["confusion"]
        names = self.dataset().class_names(run.data) or [str(label) for label in range(len(matrix))]
        marked = [f"{name} ({score:.0f})" for name, score in zip(names, f1_by_class(matrix).tolist(), strict=True)]
        canvas = Canvas(figsize=(3 + 0.35 * len(names),) * 2, layout="constrained")
        axes = canvas.add_subplot()
        shares = 100 * matrix / matrix.sum(1, keepdim=True).clamp(min=1)
        ConfusionMatrixDisplay(shares.numpy(), display_labels=names).plot(
            cmap="Greys", values_format=".0f", xticks_rotation="vertical", ax=axes, colorbar=False, text_kw={"fontsize": 7})
        axes.set_yticks(range(len(marked)), marked)
        axes.set(title="Per cent of each true class", ylabel="true class (its F1)", xlabel="predicted class")
        yield Figure("confusion", canvas)

    def probe(self, artifact: Network, run: Run) -> Probe:
        windows, (pool, _) = self._parts(run)
        test = self.dataset().read(run.data, "test")
        return Probe(artifact.module, Standardise.fitted(windows.subset(pool))(test.values[:4]).split(1))

    def _parts(self, run: Run) -> tuple[Windows, tuple[Tensor, Tensor]]:
        """All training windows, and the rows of them that make the pool and the validation windows."""
        windows = self.dataset().read(run.data, "train")
        pool, val = hold_out(windows, 0.1, run.generator("split"))
        if self.imbalance:
            pool = pool[long_tail(windows.labels[pool], self.imbalance, run.generator("tail"))]
        return windows, (pool, val)

    def _further(self, run: Run) -> Windows:
        """The windows of the file's part without labels."""
        windows = self.dataset().read(run.data, UNLABELLED)
        if not self.imbalance:
            return windows
        return windows.subset(long_tail(windows.labels, self.imbalance, run.generator("tail", UNLABELLED)))

    @staticmethod
    def _classes(windows: Windows) -> int:
        return int(windows.labels.max()) + 1

    @staticmethod
    def _rarest(labels: Tensor, tested: Tensor) -> Tensor:
        """The rarest quarter in the training `labels` of the classes that are `tested`, as on disk: the same for all options and
        seeds."""
        counts = labels.bincount()
        present = tested.unique()
        return present[counts[present].argsort(stable=True)][: max(1, len(present) // 4)]


def _macro_f1(matrix: Tensor) -> float:
    """The mean F1, in per cent, of the classes that have test windows."""
    return f1_by_class(matrix)[matrix.sum(1) > 0].mean().item()


def _accuracy(matrix: Tensor) -> float:
    return 100.0 * matrix.trace().item() / matrix.sum().item()
