"""COCO detection: boxes around common objects, judged by pycocotools (Lin et al. 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from suite.tasks._coco import SCORES, CocoTask

from suite.contract import Metric, option
from suite.data.coco import Coco


@dataclass
class CocoDetectionTask(CocoTask):
    """Boxes in COCO's layout; the primary score is AP over IoU 0.50 to 0.95."""

    title = "COCO detection"
    data = "coco"
    version = 1
    metrics: ClassVar[tuple[Metric, ...]] = SCORES

    scenes: int = option(150, "test images of the embedded data; other data have those they have", bounds=(1, 100_000), later=True)

    def dataset(self) -> Coco:
        return Coco(test_scenes=self.scenes)
