"""Change detection: which pixels show something else in the later of two pictures of a place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from suite.artifacts import ChangeSegmenter, Figure, Probe
from suite.context import Run
from suite.contract import Metric, Scale, Task, option
from suite.data.change import CHANGES, LAYOUTS, ChangeData
from suite.data.embedded.street import KINDS
from suite.data.pairs import PairImages
from suite.metrics.change import confusion, over_all, per_image
from suite.settings import ChangePairs
from suite.train import Normalise

SHOWN = 6  # test pairs in the picture of overlays


@dataclass
class ChangeDetectionTask(Task):
    """Pairs in the layouts of LEVIR-CD, VL-CMU-CD and PCD. Scores are those of the network after its last step.

    Where the data has no validation split, a random tenth of the sequences (file names up to the first ``_``) is kept for
    selection. Beside the scores stand those of predicting no change anywhere.
    """

    title = "change detection"
    version = 1
    data = "change_street"
    metrics = (
        Metric("f1_image"), Metric("f1_global"), Metric("iou_image"), Metric("iou_global"), Metric("precision_image"),
        Metric("precision_global"), Metric("recall_image"), Metric("recall_global"), Metric("miou_global"),
        Metric("accuracy_global"),
    )
    accepts = ("ChangeSegmenter",)
    reference = "plain_change"
    found_by = "layout"
    scales: ClassVar[Mapping[str, Scale]] = {
        "smoke": Scale(scratch=48, extra=24, options={"crop": 32}),
        "short": Scale(scratch=9_000, extra=3_000, options={"crop": 64}),
        "long": Scale(scratch=200_000, extra=70_000, options={"crop": 64}),
        "full": Scale(scratch=400_000, extra=400_000),  # 100 epochs of 4,000 pairs
    }

    layout: str = option("street", "how the data lies on disk; left out, the layout that lies there", choices=LAYOUTS)
    change: str = option("layout", "the grey that is change: white, black, all between (classes), or as usual in the layout",
                         choices=CHANGES)
    ignore: tuple[int, ...] = option((), "greys of a mask that count neither way, such as 170 or 85:170", bounds=(0, 255))
    threshold: int = option(0, "the least grey of a mask that counts as white, such as 128 for soft edges; 0: masks are 0 and 255",
                            bounds=(0, 255), later=True)
    fold: int = option(0, "the fifth of a pcd set that is tested", bounds=(0, 4))
    kinds: str = option("all", "what happens in the embedded scenes", choices=("all", *KINDS))
    crop: int = option(256, "side of the training crops in pixels, 0 for whole pictures", bounds=(0, 4096))

    def dataset(self) -> ChangeData:
        kinds = KINDS if self.kinds == "all" else (self.kinds,)
        return ChangeData(self.layout, self.change, self.ignore, self.fold, kinds, self.threshold)

    def setting(self, run: Run) -> ChangePairs:
        train, val = self._split(run)
        train = train.crops(self.crop)
        shape = train.batch(torch.zeros(1, dtype=torch.long), True, run.generator("shape")).shape
        return ChangePairs(train, val, (6, *shape[2:]), Mirror(normalise), normalise)

    def _split(self, run: Run) -> tuple[PairImages, PairImages]:
        """Training and validation pairs; pairs of one sequence stay together."""
        dataset = self.dataset()
        train = dataset.read(run.data, "train")
        if "val" in dataset.splits(run.data):
            return train, dataset.read(run.data, "val")
        names = [pair.name.partition("_")[0] for pair in train.pairs]
        groups = sorted(set(names))
        order = torch.randperm(len(groups), generator=run.generator("split")).tolist()
        kept = {groups[place] for place in order[: len(groups) // 10 or len(groups) > 1]}
        held = torch.tensor([name in kept for name in names])
        return train.subset(torch.where(~held)[0]), train.subset(torch.where(held)[0])

    def evaluate(self, artifact: ChangeSegmenter, run: Run) -> dict[str, float]:
        pairs = self.dataset().read(run.data, "test")
        counts = torch.cat([confusion(guess, mask) for _, guess, mask in self._judged(artifact, pairs, range(len(pairs)), run)])
        artifact.spare["counts"] = counts
        trivial = scores(without_change(counts))
        return scores(counts) | {f"trivial_{name}": trivial[name] for name in ("f1_image", "miou_global", "accuracy_global")}

    def _judged(
        self, artifact: ChangeSegmenter, pairs: PairImages, rows: Iterable[int], run: Run
    ) -> Iterable[tuple[Tensor, Tensor, Tensor]]:
        """Pixels uint8 (1, 7, H, W), prediction and mask (1, H, W) of some pairs, one at a time: their sizes may differ."""
        network = artifact.module.eval().to(run.device)
        for row in run.progress(list(rows), "evaluate"):
            pixels = pairs.batch(torch.tensor([row]), False, run.generator("evaluate"))
            with torch.inference_mode():
                logits = network(normalise(pixels[:, :6]).to(run.device))
            yield pixels, logits.argmax(1).cpu(), pixels[:, 6]

    def show(self, artifact: ChangeSegmenter, run: Run) -> Iterable[Figure]:
        """Test pairs, evenly spread, with the prediction over the later picture: green right, red false alarm, blue missed."""
        from matplotlib.figure import Figure as Canvas

        pairs = self.dataset().read(run.data, "test")
        rows = torch.linspace(0, len(pairs) - 1, min(SHOWN, len(pairs))).long().tolist()
        canvas = Canvas(figsize=(2.2 * len(rows), 6.8), layout="constrained")
        axes = canvas.subplots(3, len(rows), squeeze=False)
        for column, (pixels, guess, mask) in enumerate(self._judged(artifact, pairs, rows, run)):
            first, second = (part.permute(1, 2, 0).numpy() for part in (pixels[0, :3], pixels[0, 3:6]))
            for axis, picture in zip(axes[:, column], (first, second, overlay(second, guess[0], mask[0])), strict=True):
                axis.imshow(picture)
                axis.set_axis_off()
            axes[0, column].set_title(pairs.pairs[rows[column]].name, fontsize=8)
        yield Figure("overlays", canvas)

    def probe(self, artifact: ChangeSegmenter, run: Run) -> Probe:
        pairs = self.dataset().read(run.data, "test")
        pixels = [pairs.batch(torch.tensor([row]), False, run.generator("probe")) for row in range(min(4, len(pairs)))]
        return Probe(artifact.module, tuple(normalise(item[:, :6]) for item in pixels if item.shape == pixels[0].shape))


def scores(counts: Tensor) -> dict[str, float]:
    """Both averages of `counts` (N, 4), by metric name."""
    return per_image(counts) | over_all(counts)


def without_change(counts: Tensor) -> Tensor:
    """The counts (N, 4) of a predictor that sees no change anywhere: all changed pixels are missed."""
    tp, fp, fn, tn = counts.unbind(1)
    return torch.stack([tp * 0, fp * 0, tp + fn, fp + tn], 1)


def normalise(pictures: Tensor) -> Tensor:
    """uint8 (B, 6, H, W) to float32 with the means and deviations of ImageNet, as C-3PO does."""
    return Normalise((0.485, 0.456, 0.406) * 2, (0.229, 0.224, 0.225) * 2)(pictures)


@dataclass(frozen=True)
class Mirror:
    """Both pictures and the mask mirrored left to right together with probability one half; mask 255 becomes target 255."""

    normalise: Any

    def __call__(self, pixels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        chosen = torch.rand(len(pixels), generator=generator) < 0.5
        pixels = torch.where(chosen.view(-1, 1, 1, 1), pixels.flip(3), pixels)
        return self.normalise(pixels[:, :6]), pixels[:, 6].long()


def overlay(picture: Any, guess: Tensor, mask: Tensor) -> Any:
    """`picture` uint8 (H, W, 3), half covered by green (found), red (false alarm) and blue (missed); grey where not counted."""
    grey = picture.mean(2, keepdims=True).repeat(3, 2)
    counted = mask != 255
    colours = ((guess == 1) & (mask == 1), (0, 200, 0)), ((guess == 1) & (mask == 0), (230, 0, 0)), (
        (guess == 0) & (mask == 1), (0, 80, 255)), (~counted, (128, 128, 128))
    for where, colour in colours:
        grey[where.numpy()] = 0.4 * grey[where.numpy()] + 0.6 * torch.tensor(colour).numpy()
    return grey.astype("uint8")
