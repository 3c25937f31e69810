"""What may be wrong with an annotation file in COCO's form, said in a few words."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from suite.data import masks

SLACK = 1.0  # pixels by which the official polygons stick out of their pictures


def problem_of(content: dict[str, Any], pictures: Path) -> str:
    """The first contradiction in the lists images, annotations and categories, or with the folder of the pictures; else empty.

    KeyError, TypeError or ValueError where an entry is not of COCO's form at all.
    """
    if not content["images"] or not content["categories"]:
        return f"the list of {'categories' if content['images'] else 'images'} is empty"
    for name, what in (("images", "image"), ("categories", "category"), ("annotations", "annotation")):
        (identity, times), *_ = Counter(item["id"] for item in content[name]).most_common(1) or [(0, 0)]
        if times > 1:
            return f"the {what} id {identity} occurs {times} times, expected once"
    for item in content["images"]:
        if not (pictures / item["file_name"]).is_file():
            return f"image {item['id']} is the file '{pictures.name}/{item['file_name']}', which is missing"
    sizes = {item["id"]: (item["height"], item["width"]) for item in content["images"]}
    categories = {item["id"] for item in content["categories"]}
    for item in content["annotations"]:
        if reason := _annotation_problem(item, sizes, categories):
            return f"annotation {item['id']} {reason}"
    return ""


def _annotation_problem(item: dict[str, Any], sizes: dict[int, tuple[int, int]], categories: set[int]) -> str:
    if item["id"] == 0:
        return "has the id 0, which pycocotools takes for no annotation, expected ids from 1"
    if item["image_id"] not in sizes:
        return f"belongs to image {item['image_id']}, which is not in the list of images"
    if item["category_id"] not in categories:
        return f"has the category id {item['category_id']}, expected one of the {len(categories)} categories listed"
    if item["iscrowd"] not in (0, 1):
        return f"has iscrowd {item['iscrowd']}, expected 0 or 1"
    if not (math.isfinite(item["area"]) and item["area"] >= 0):
        return f"has the area {item['area']}, expected square pixels"
    x, y, wide, high = map(float, item["bbox"])
    height, width = sizes[item["image_id"]]
    if not (wide > 0 and high > 0):
        return f"has a box {wide:g} pixels wide and {high:g} high, expected both above 0"
    if not (x >= -SLACK and y >= -SLACK and x + wide <= width + SLACK and y + high <= height + SLACK):  # also if one is NaN
        return f"has the box {x:g}, {y:g}, {wide:g}, {high:g} outside its image of {width} x {height} pixels"
    reason = _mask_problem(item["segmentation"], height, width)
    return f"has a mask {reason} its image of {width} x {height} pixels" if reason else ""


def _mask_problem(segmentation: masks.Segmentation, height: int, width: int) -> str:
    """Why a mask does not lie in an image, as a preposition; empty where it does."""
    if isinstance(segmentation, dict):
        try:
            masks.lengths(segmentation)
        except ValueError as error:
            return f"of {error} in"
        return "" if list(segmentation["size"]) == [height, width] else "of another size than"
    for outline in segmentation:
        x, y = outline[0::2], outline[1::2]
        if len(outline) < 6 or len(outline) % 2:
            return f"with a polygon of {len(outline)} numbers, expected an even number from 6, in"
        inside = min(x) >= -SLACK and min(y) >= -SLACK and max(x) <= width + SLACK and max(y) <= height + SLACK
        if not (inside and math.isfinite(sum(outline))):  # pycocotools fills the memory with a NaN
            return "outside"
    return "" if segmentation else "without any polygon in"
