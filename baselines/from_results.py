"""Somebody's detector, entered by its file of results in COCO's format."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.artifacts import Detections
from suite.contract import Method, Paper, option
from suite.errors import UserError
from suite.run import Run
from suite.settings import Detection

FORM = "a list of {image_id, category_id, score, and bbox [x, y, w, h] or segmentation}"


@dataclass
class FromResultsMethod(Method):
    """Reads ``file=RESULTS.json`` (boxes and masks found in val2017); results on other images than the judged ones do not count."""

    paper = Paper("Microsoft COCO: Common Objects in Context", "Lin, Maire, Belongie, Hays, Perona, Ramanan, Dollar, Zitnick",
                  "ECCV", 2014, "https://arxiv.org/abs/1405.0312")
    tags = ("results",)
    takes = ("Detection",)
    gives = "Detections"
    asks = ("file",)

    file: str = option("", "the results file")

    def fit(self, setting: Detection, run: Run) -> Detections:
        if not self.file:
            raise UserError("'from_results' needs the file of results to score; add file=RESULTS.json.")
        categories = {item["id"] for item in setting.train.truth()["categories"]}
        entries = read_results(self.file, categories)
        run.note(file_digest=hashlib.sha256(Path(self.file).read_bytes()).hexdigest()[:16])
        return Detections(entries)


def read_results(path: str, categories: set[int]) -> list[dict[str, Any]]:
    """The entries of a results file. UserError for a file that is none, and for the first entry that is not of the form."""
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no results file '{path}'; name one with file=RESULTS.json.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' is no readable JSON ({error}); expected {FORM}.") from None
    if not isinstance(entries, list):
        raise UserError(f"'{path}' holds a {type(entries).__name__}; expected {FORM}.")
    for number, entry in enumerate(entries):
        try:
            problem = _problem(entry, categories)
        except (KeyError, TypeError, ValueError) as error:
            problem = f"is not of the form ({type(error).__name__}: {error})"
        if problem:
            raise UserError(f"Entry {number} of '{path}' {problem}; expected {FORM}.")
    return entries


def _problem(entry: dict[str, Any], categories: set[int]) -> str:
    int(entry["image_id"])
    if entry["category_id"] not in categories:
        return f"has the category id {entry['category_id']}, which the data do not have (they use the original ids)"
    if not math.isfinite(entry["score"]):
        return f"has the score {entry['score']}"
    if "bbox" in entry and not (len(entry["bbox"]) == 4 and all(map(math.isfinite, entry["bbox"])) and min(entry["bbox"][2:]) >= 0):
        return f"has the box {entry['bbox']}"
    return "" if "bbox" in entry or "segmentation" in entry else "has neither bbox nor segmentation"
