"""COCO instance segmentation: a mask for each object, judged by pycocotools (Lin et al. 2014)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from suite.tasks._coco import SCORES, CocoTask

from suite.contract import Metric
from suite.data.coco import CocoScenes
from suite.metrics import coco_scores


@dataclass
class CocoSegmentationTask(CocoTask):
    """Masks in COCO's layout; the primary score is mask AP over IoU 0.50 to 0.95, and box AP stands beside it."""

    title = "COCO instance segmentation"
    data = "coco"
    version = 1
    metrics: ClassVar[tuple[Metric, ...]] = (*SCORES, Metric("box_AP", bounds=(-1.0, 100.0)))
    reference = "mask_rcnn"
    kind: ClassVar[Literal["bbox", "segm"]] = "segm"

    def scores(self, scenes: CocoScenes, entries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        truth = scenes.truth()
        return {**coco_scores(truth, entries, "segm"), "box_AP": coco_scores(truth, entries, "bbox")["AP"]}
