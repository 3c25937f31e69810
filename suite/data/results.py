"""COCO's results format: what a detector found, as entries and in files."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.data import masks
from suite.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

KEYS = ("image_id", "category_id", "score", "bbox", "segmentation")  # others would make pycocotools take a result for another kind
FORM = "a list of {image_id, category_id, score, and bbox [x, y, w, h] or segmentation {size [h, w], counts}}"


def read_results(path: str, categories: Collection[int]) -> list[dict[str, Any]]:
    """The entries of a results file. UserError for a file that is none, and for the first entry that is not of the form."""
    entries = listed(path, FORM)
    for number, entry in enumerate(entries):
        try:
            problem = _problem(entry, categories)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            problem = f"is not of the form ({type(error).__name__}: {error})"
        if problem:
            raise UserError(f"Entry {number} of '{path}' {problem}; expected {FORM}.")
    return [_known(entry) for entry in entries]


def listed(path: str, form: str) -> list[Any]:
    """The list in a JSON file of results, whose `form` messages name. UserError for a file that is none."""
    try:
        entries = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise UserError(f"There is no results file '{path}'; give the path of {form}.") from None
    except UnicodeDecodeError:
        raise UserError(f"'{path}' is not UTF-8 text; save {form}, as UTF-8.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"'{path}' is no readable JSON ({error}); expected {form}.") from None
    if not isinstance(entries, list):
        raise UserError(f"'{path}' holds a {type(entries).__name__}; expected {form}.")
    return entries


def completed(entries: Sequence[dict[str, Any]], sizes: Mapping[int, tuple[int, int]]) -> list[dict[str, Any]]:
    """Those of `entries` in one of the images of `sizes` (height and width by id), with a box around the mask where they have none
    and without keys that results do not have.

    UserError for a mask of another size than its image, and where there are entries, but none in these images.
    """
    from pycocotools import mask as coding

    found = []
    for entry in map(_known, entries):
        size = sizes.get(entry["image_id"])
        if size is not None and "segmentation" in entry:
            high, wide = entry["segmentation"]["size"]
            if (high, wide) != size:
                raise UserError(f"A result has a mask of {wide} x {high} pixels in image {entry['image_id']}, which is {size[1]} x "
                                f"{size[0]}; give masks of the whole image at its own size.")
            coded = masks.encode(entry["segmentation"], *size)
            entry = {**entry, "segmentation": coded, "bbox": entry.get("bbox") or coding.toBbox(coded).tolist()}
        if size is not None:
            found.append(entry)
    if entries and not found:
        raise UserError(f"None of the {len(entries)} results is on one of the {len(sizes)} judged images; give results on val2017.")
    return found


def _known(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry without the keys that results do not have, and without empty ones."""
    return {key: entry[key] for key in KEYS if entry.get(key) is not None}


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
    if not isinstance(entry["image_id"], int):
        return f"has the image id {entry['image_id']!r}, which is no whole number"
    if entry["category_id"] not in categories:
        return f"has the category id {entry['category_id']}, which the data do not have"
    if not math.isfinite(entry["score"]):
        return f"has the score {entry['score']}"
    box = entry.get("bbox")
    if box is not None and not (len(box) == 4 and all(map(math.isfinite, box)) and min(box[2:]) >= 0):
        return f"has the box {box}"
    if entry.get("segmentation") is None:
        return "has neither bbox nor segmentation" if box is None else ""
    try:
        masks.lengths(entry["segmentation"])
    except (TypeError, ValueError) as error:
        return f"has as its segmentation {error}"
    return ""
