"""Suppression of double boxes: every method gets the same frozen candidates of one detector."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from suite.tasks._coco import SCORES, CocoJudge

from suite.artifacts import Candidates, Suppressor, Timed
from suite.context import Run, hashed, load, save
from suite.contract import Metric, Needed, Scale, option
from suite.data.coco import CocoScenes
from suite.data.results import entries_of, read_results
from suite.errors import UserError
from suite.metrics import coco_scores
from suite.nn.detection import candidates
from suite.paths import timing_lock
from suite.profile import call_latency
from suite.settings import Suppression

VAL_IMAGES = 50  # with candidates to select on
LIMIT = 100  # boxes of an image that COCO's judge looks at


@dataclass
class BoxSuppressionTask(CocoJudge):
    """COCO's scores of what is kept, and the suppression's own time on one thread against the number of boxes.

    The candidates are those of a recorded detector (its detections, or the proposals of its first stage, where all objects are
    one class), or of ``task.file=RESULTS.json``.
    """

    title = "Box suppression"
    data = "coco"
    version = 1
    metrics: ClassVar[tuple[Metric, ...]] = SCORES
    accepts = ("Suppressor",)
    reference = "greedy_nms"
    scales: ClassVar[Mapping[str, Scale]] = {  # nothing is trained here: a budget is for methods that learn to suppress
        "smoke": Scale(scratch=32, extra=16, options={"images": 4, "floor": 0.0, "counts": (100, 200)}),
        "short": Scale(scratch=8_000, extra=2_500),
        "long": Scale(scratch=100_000, extra=30_000),
        "full": Scale(scratch=1_440_000, extra=1_440_000),
    }

    stage: Literal["final", "proposals"] = option("final", "RetinaNet's detections, or the proposals inside Faster R-CNN")
    file: str = option("", "candidates before suppression in COCO's results format, instead of a recorded detector")
    floor: float = option(0.05, "candidates of the recorded detector have scores above this", bounds=(0, 1))
    counts: tuple[int, ...] = option((100, 300, 1000, 3000), "numbers of boxes at which latency is measured", bounds=(1, 100_000))

    def __post_init__(self) -> None:
        if self.file and not Path(self.file).is_file():
            raise UserError(f"There is no results file '{self.file}'; name one with task.file=RESULTS.json.")

    def needs(self) -> Mapping[str, Needed]:
        if self.file:
            return {}
        return {"detector": Needed("coco_detection", "retinanet" if self.stage == "final" else "faster_rcnn")}

    def setting(self, run: Run) -> Suppression:
        if self.file:
            return Suppression((), {}, LIMIT)
        _, val = self.split(run)
        val = val.subset(torch.arange(min(VAL_IMAGES, len(val))))
        return Suppression(self.frozen(val, run), val.truth(), LIMIT)

    def evaluate(self, artifact: Suppressor, run: Run) -> dict[str, float]:
        scenes = self.test(run)
        found = self.frozen(scenes, run)
        kept = [checked(artifact.keep(item), item) for item in run.progress(found, "suppress")]
        pairs = enumerate(zip(found, kept, strict=True))
        entries = [entry for row, (item, rows) in pairs for entry in _entries(scenes, row, item, rows)]
        artifact.spare["results"] = entries
        run.note(candidates_per_image=sum(len(item.scores) for item in found) / len(found),
                 kept_per_image=sum(map(len, kept)) / len(kept))
        return coco_scores(scenes.truth(), entries, by_category=self.stage == "final")

    def frozen(self, scenes: CocoScenes, run: Run) -> list[Candidates]:
        """The candidates of each image: from the file, or computed once for a detector and kept beside its weights."""
        if self.file:
            return list(_from_file(self.file, scenes))
        detector = run.judges["detector"]
        if not detector.exists():
            raise UserError("The detector that the candidates come from is not in the cache; train it again: run its command, "
                            f"which 'suite show {detector.parent.name}' gives, with --again.")
        which = hashed(hashlib.sha256(detector.read_bytes()).hexdigest(), scenes.ids, self.floor)
        path = detector.with_name(f"candidates-{which:x}.pt")
        if not path.exists():
            module = run.judge("detector").module.eval()
            rows = run.progress(range(len(scenes)), "candidates", total=len(scenes))
            save([candidates(module, [scenes.image(row).float() / 255], self.floor)[0] for row in rows], path)
        return load(path)

    def timings(self, artifact: Suppressor, run: Run) -> Sequence[Timed]:
        """``latency`` at each of `counts` boxes; noted is the exponent with which it grows, a fit of log ms to log boxes."""
        found = self.frozen(self.test(run), run)
        if not any(len(item.scores) for item in found):
            return ()
        piles = {count: pile(found, count, run.generator("pile")) for count in self.counts}
        contenders = {str(count): partial(artifact.keep, item) for count, item in piles.items()}
        timings = call_latency(contenders, timing_lock())
        made = [Timed("latency", timings[str(count)]["median_ms"], count, timings[str(count)]["noisy"]) for count in self.counts]
        x, y = [math.log(count) for count in self.counts], [math.log(item.ms) for item in made]
        if len(set(x)) > 1:
            middle = sum(x) / len(x)
            run.note(latency_exponent=sum((a - middle) * b for a, b in zip(x, y, strict=True)) / sum((a - middle) ** 2 for a in x))
        return made


def checked(rows: torch.Tensor, item: Candidates) -> torch.Tensor:
    """`rows` by falling score, at most `LIMIT`; ValueError unless they are different rows of the candidates."""
    count, found = len(item.scores), rows.tolist()
    if len(set(found)) != len(found) or not all(0 <= row < count for row in found):
        raise ValueError(f"a suppressor gives different rows of its {count} candidates, and this one gave {found[:9]} ...")
    return rows[item.scores[rows].argsort(descending=True, stable=True)][:LIMIT]


def pile(found: Sequence[Candidates], count: int, generator: torch.Generator) -> Candidates:
    """`count` boxes as if of one image: those of all images over each other, repeated with a jitter of some pixels if too few."""
    boxes, scores, labels = (torch.cat([getattr(item, name) for item in found]) for name in ("boxes", "scores", "labels"))
    anchors = None if any(item.anchors is None for item in found) else torch.cat([item.anchors for item in found])
    rows = torch.randperm(max(count, len(scores)), generator=generator)[:count] % len(scores)
    moved = torch.randn(count, 2, generator=generator).repeat(1, 2)
    size = max(item.size[0] for item in found), max(item.size[1] for item in found)
    inside = (boxes[rows] + moved).clamp_min(0).minimum(torch.tensor([size[1], size[0]] * 2, dtype=torch.float32))
    return Candidates(inside, scores[rows], labels[rows], size, None if anchors is None else anchors[rows] + moved)


def _entries(scenes: CocoScenes, row: int, item: Candidates, rows: torch.Tensor) -> Iterator[dict[str, Any]]:
    found = {"boxes": item.boxes[rows], "labels": item.labels[rows], "scores": item.scores[rows]}
    return entries_of(scenes.ids[row], [entry["id"] for entry in scenes.classes], found)


def _from_file(path: str, scenes: CocoScenes) -> Iterator[Candidates]:
    label = {item["id"]: number for number, item in enumerate(scenes.classes, 1)}
    by_image: dict[int, list[dict[str, Any]]] = {}
    for entry in read_results(path, label):
        if "bbox" not in entry:
            raise UserError(f"'{path}' holds an entry without bbox; candidates for suppression are boxes.")
        by_image.setdefault(entry["image_id"], []).append(entry)
    for image in scenes.images:
        entries = by_image.get(image["id"], [])
        boxes = torch.tensor([entry["bbox"] for entry in entries], dtype=torch.float32).reshape(-1, 4)
        yield Candidates(
            torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1),
            torch.tensor([entry["score"] for entry in entries], dtype=torch.float32),
            torch.tensor([label[entry["category_id"]] for entry in entries], dtype=torch.int64),
            (image["height"], image["width"]),
        )
