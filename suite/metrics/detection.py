"""COCO's average precision and recall: pycocotools is the judge, and nothing of it is written again."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

#: The twelve numbers of ``COCOeval.summarize``, in its order.
COCO_SCORES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
               "AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large")
NONE = -1.0  # COCO's value of a score that no object takes part in


def coco_scores(
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    kind: Literal["bbox", "segm"] = "bbox",
    by_category: bool = True,
) -> dict[str, float]:
    """COCO's twelve scores in percent; -1 for one that no object takes part in, as in pycocotools.

    `truth` is the content of an annotation file (images, annotations, categories); `results` are dictionaries of image_id,
    category_id, score and bbox (x, y, w, h in pixels) or segmentation (run lengths) or both. Crowds are ignored regions.
    Without `by_category` all objects count as one class, which is how proposals are judged.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        objects = _coco(COCO(), {**truth, "annotations": [dict(item) for item in truth["annotations"]]})
        if results:
            found = objects.loadRes([_only(item, kind) for item in results])
        else:  # which loadRes cannot
            found = _coco(COCO(), {**truth, "annotations": []})
        judge = COCOeval(objects, found, kind)
        judge.params.useCats = int(by_category)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return {name: 100 * float(value) if value >= 0 else NONE for name, value in zip(COCO_SCORES, judge.stats, strict=True)}


def _only(item: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A result without what is not judged: pycocotools would take the box's area for the mask's."""
    judged, other = ("segmentation", "bbox") if kind == "segm" else ("bbox", "segmentation")
    return {name: value for name, value in item.items() if name != other or judged not in item}


def _coco(made: Any, content: Mapping[str, Any]) -> Any:
    made.dataset = dict(content)
    made.createIndex()
    return made
