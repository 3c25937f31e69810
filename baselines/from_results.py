"""Somebody's detector or captioner, entered by its file of results in COCO's format, in KITTI's, or of scores of forged faces."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from suite.artifacts import Detections
from suite.context import Run
from suite.contract import Method, Paper, option
from suite.data import captions
from suite.data.forgery_scores import read_forgery_scores
from suite.data.kitti_results import read_cloud_results
from suite.data.results import read_results
from suite.errors import UserError
from suite.settings import Captioning, CloudDetection, Detection, FaceForgery


@dataclass
class FromResultsMethod(Method):
    """Reads ``file=RESULTS.json``: boxes, masks or captions of val2017. Results on images that are not judged do not count.

    For lidar scans it is ``file=RESULTS.zip``, with a file for each frame as KITTI's server takes them; for forged faces a list of
    ``{"method": "Deepfakes", "video": "000_003", "frame": "0000", "score": 0.9}`` (``"original"`` for originals).
    """

    paper = Paper("Microsoft COCO: Common Objects in Context", "Lin, Maire, Belongie, Hays, Perona, Ramanan, Dollar, Zitnick",
                  "ECCV", 2014, "https://arxiv.org/abs/1405.0312")
    tags = ("results",)
    takes = ("Detection", "CloudDetection", "Captioning", "FaceForgery")
    gives = "Detections"
    asks = ("file",)

    file: str = option("", "the results file")

    def fit(self, setting: Detection | CloudDetection | Captioning | FaceForgery, run: Run) -> Detections:
        if not self.file:
            raise UserError("'from_results' needs the file of results to score; add file=RESULTS.json.")
        if isinstance(setting, CloudDetection):
            entries = read_cloud_results(self.file)
        elif isinstance(setting, Captioning):
            entries = captions.read_results(self.file)
        elif isinstance(setting, FaceForgery):
            entries = read_forgery_scores(self.file)
        else:
            entries = read_results(self.file, {item["id"] for item in setting.train.truth()["categories"]})
        run.note(file_digest=hashlib.sha256(Path(self.file).read_bytes()).hexdigest()[:16])
        return Detections(entries)
