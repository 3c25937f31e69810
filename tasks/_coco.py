"""What the tasks on COCO's layout share: the split, results in COCO's form, the judge, pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from suite.artifacts import Detections, Detector, Figure, Probe, Suppressor, Timed
from suite.context import Run
from suite.contract import Metric, Scale, Skip, Task, option
from suite.data.coco import Coco, CocoScenes
from suite.data.masks import decode
from suite.data.results import completed, entries_of
from suite.metrics import COCO_SCORES, coco_scores
from suite.paths import timing_lock
from suite.profile import call_latency
from suite.settings import Detection
from suite.train import detect

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCORES = tuple(Metric(name, bounds=(-1.0, 100.0)) for name in COCO_SCORES)  # -1: the data have no object of that size
PICTURES = 8  # shown of a run
SHOWN_SCORE = 0.3  # of boxes in pictures


@dataclass
class CocoJudge(Task):
    """The data, the split and the scores. val2017 is used once, for judging."""

    kind: ClassVar[Literal["bbox", "segm"]] = "bbox"

    images: int = option(0, "judge on the first so many test images; 0 is all", bounds=(0, 1_000_000))

    def dataset(self) -> Coco:
        return Coco(with_masks=self.kind == "segm")

    def split(self, run: Run) -> tuple[CocoScenes, CocoScenes]:
        """train2017 less a random tenth (at most 5,000 images), and that tenth, which is for selection."""
        scenes = self.dataset().read(run.data, "train")
        order = torch.randperm(len(scenes), generator=run.generator("split"))
        held = min(max(1, len(scenes) // 10), 5000)
        return scenes.subset(order[held:]), scenes.subset(order[:held])

    def test(self, run: Run) -> CocoScenes:
        """The images to judge on."""
        scenes = self.dataset().read(run.data, "test")
        return scenes.subset(torch.arange(min(self.images or len(scenes), len(scenes))))

    def show(self, artifact: Detector | Detections | Suppressor, run: Run) -> Iterable[Figure]:
        yield from pictures(self.test(run), artifact.spare["results"], masks=self.kind == "segm")


@dataclass
class CocoTask(CocoJudge):
    """Train a detector on train2017, judge it on val2017."""

    accepts: ClassVar[tuple[str, ...]] = ("Detector", "Detections")
    reference: ClassVar[str] = "retinanet"
    scales: ClassVar[Mapping[str, Scale]] = {
        "smoke": Scale(scratch=32, extra=16, options={"size": 64, "images": 8}),
        "short": Scale(scratch=10_000, extra=2_500, options={"size": 128}),
        "long": Scale(scratch=40_000, extra=12_000, options={"size": 160}),
        "full": Scale(scratch=1_440_000, extra=1_440_000),  # 90,000 steps of 16 images
    }

    size: int = option(1066, "pixels of the longer side of what a network sees (800 on the shorter at 4:3)", bounds=(64, 2048))

    def setting(self, run: Run) -> Detection:
        train, val = self.split(run)
        return Detection(train, val, self.kind == "segm", self.size)

    def evaluate(self, artifact: Detector | Detections, run: Run) -> dict[str, float]:
        scenes = self.test(run)
        if isinstance(artifact, Detections):
            entries = completed(artifact.entries, {item["id"]: (item["height"], item["width"]) for item in scenes.images})
            run.note(results_elsewhere=len(artifact.entries) - len(entries))
            if self.kind == "segm" and any("segmentation" not in entry for entry in entries):
                raise Skip("the results hold no masks ('segmentation')")
        else:
            categories = [item["id"] for item in scenes.classes]
            entries = [entry for row, found in detect(artifact.module, scenes, run)
                       for entry in entries_of(scenes.ids[row], categories, found)]
        artifact.spare["results"] = entries
        run.note(detections_per_image=len(entries) / len(scenes))
        return self.scores(scenes, entries)

    def scores(self, scenes: CocoScenes, entries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """The task's scores of results in COCO's form."""
        return coco_scores(scenes.truth(), entries, self.kind)

    def probe(self, artifact: Detector | Detections, run: Run) -> Probe | None:
        if isinstance(artifact, Detections) or artifact.body is None:
            return None
        inputs = prepared(artifact, self.test(run), 4)
        return Probe(artifact.body, tuple(inputs))

    def timings(self, artifact: Detector | Detections, run: Run) -> Sequence[Timed]:
        """The whole detector on the first test image, and what of it is not in the plan (anchors, decoding, regions, suppression,
        masks): the whole less the body with that image's regions, 0 where the noise is larger.
        """
        if isinstance(artifact, Detections) or artifact.body is None:
            return ()
        scenes = self.test(run)
        (batch,) = prepared(artifact, scenes, 1)
        image = scenes.image(0).float() / 255
        module, body = artifact.module.cpu(), artifact.body.cpu()
        if hasattr(body, "seen"):
            body = body.seen(module, image)
        timings = call_latency({"whole": lambda: module([image]), "body": lambda: body(batch)}, timing_lock())
        whole, part = timings["whole"], timings["body"]
        return (Timed("whole", whole["median_ms"], noisy=whole["noisy"]),
                Timed("postprocess", max(0.0, whole["median_ms"] - part["median_ms"]), noisy=whole["noisy"] or part["noisy"]))


def prepared(detector: Detector, scenes: CocoScenes, count: int) -> list[Tensor]:
    """The first `count` images of the first image's size as inputs of the detector's body."""
    first = scenes.images[0]
    rows = [row for row, item in enumerate(scenes.images) if (item["height"], item["width"]) == (first["height"], first["width"])]
    return [detector.body.prepare([scenes.image(row).float() / 255]) for row in rows[:count]]


def pictures(scenes: CocoScenes, entries: Sequence[Mapping[str, Any]], masks: bool) -> Iterator[Figure]:
    """The first test images, each with its objects (left) and with what was found (right), boxes or boxes with `masks`."""
    from matplotlib.figure import Figure as Canvas

    # Steps of the golden ratio around the circle of hues: neighbours differ, and no two of COCO's 80 are the same.
    kinds = {item["id"]: (item["name"], 0.618034 * place % 1) for place, item in enumerate(scenes.classes)}
    for row in range(min(PICTURES, len(scenes))):
        image = scenes.ids[row]
        canvas = Canvas(figsize=(8, 4), layout="constrained")
        left, right = canvas.subplots(1, 2)
        for axes, items, title in (
            (left, scenes.annotations.get(image, []), "annotated"),
            (right, [item for item in entries if item["image_id"] == image and item["score"] >= SHOWN_SCORE], "found"),
        ):
            axes.imshow(scenes.image(row).permute(1, 2, 0).numpy())
            axes.set_title(f"{title}: {len(items)}", fontsize=9)
            axes.set_axis_off()
            for item in items:
                _draw(axes, item, *kinds[item["category_id"]], scenes.images[row] if masks else None)
        yield Figure(f"{image:012d}", canvas)


def _draw(axes: Axes, item: Mapping[str, Any], name: str, hue: float, image: Mapping[str, Any] | None) -> None:
    """Draw an annotation or a result, with its mask where the `image` that it lies in is given."""
    from matplotlib.colors import hsv_to_rgb
    from matplotlib.patches import Rectangle

    colour = tuple(hsv_to_rgb((hue, 1, 1)))
    if image is not None:
        size = image["height"], image["width"]
        drawn = torch.from_numpy(decode(item["segmentation"], *size)).float()
        axes.imshow(torch.cat([torch.tensor(colour).view(1, 1, 3).expand(*size, 3), 0.35 * drawn[..., None]], dim=2).numpy())
    x, y, wide, high = item["bbox"]
    line = ":" if item.get("iscrowd") else "-"
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), wide, high, fill=False, color=colour, linestyle=line))
    text = name + (f" {item['score']:.2f}" if "score" in item else "")
    axes.text(x, y, text, fontsize=6, color="black", backgroundcolor=(*colour, 0.6), verticalalignment="bottom")
