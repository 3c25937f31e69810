"""COCO's results format: what a detector found, as entries and in files."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

FORM = "a list of {image_id, category_id, score, and bbox [x, y, w, h] or segmentation}"


def read_results(path: str, categories: Collection[int]) -> list[dict[str, Any]]:
    """The entries of a results file. UserError for a file that is none, and for the first entry that is not of the form."""
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no results file '{path}'; give the path of {FORM}.") from None
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


def entries_of(image: int, categories: Sequence[int], found: Mapping[str, Tensor]) -> Iterator[dict[str, Any]]:
    """What a detector found in the image of that id, with masks where it gave some; label ``k`` is ``categories[k - 1]``."""
    import torch

    left, top, right, bottom = found["boxes"].double().unbind(1)
    boxes = torch.stack([left, top, right - left, bottom - top], dim=1).tolist()
    drawn = (found["masks"][:, 0] > 0.5).numpy() if "masks" in found else None
    for number, (box, label, score) in enumerate(zip(boxes, found["labels"].tolist(), found["scores"].tolist(), strict=True)):
        entry = {"image_id": image, "category_id": categories[label - 1], "bbox": box, "score": score}
        if drawn is not None:
            entry["segmentation"] = _compressed(drawn[number])
        yield entry


def _compressed(mask: Any) -> dict[str, Any]:
    import numpy as np
    from pycocotools import mask as coding

    return coding.encode(np.asfortranarray(mask, dtype=np.uint8))


def _problem(entry: dict[str, Any], categories: Collection[int]) -> str:
    """What is wrong with an entry; empty if nothing is."""
    int(entry["image_id"])
    if entry["category_id"] not in categories:
        return f"has the category id {entry['category_id']}, which the data do not have"
    if not math.isfinite(entry["score"]):
        return f"has the score {entry['score']}"
    box = entry.get("bbox")
    if box is not None and not (len(box) == 4 and all(map(math.isfinite, box)) and min(box[2:]) >= 0):
        return f"has the box {box}"
    return "" if box is not None or "segmentation" in entry else "has neither bbox nor segmentation"
