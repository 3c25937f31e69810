"""What may be wrong with an annotation file in COCO's form, said in a few words."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from suite.data import masks
from suite.data.files import below, spelled

SLACK = 1.0  # pixels by which the official polygons stick out of their pictures
SIDE_SLACK = 2.0, 0.1  # pixels, and parts of the longer side, by which a box may miss its mask
AREA_SLACK = 16.0, 0.5  # square pixels, and parts of the larger area, by which an area may miss that of its mask
LEAST_FILLED = 0.01  # of a box without a mask that an object in it can be said to cover


class Measured(NamedTuple):
    """The area of a mask in square pixels, and the sides of the box around it: left, top, right, bottom."""

    area: float
    sides: tuple[float, float, float, float]


def problem_of(content: dict[str, Any], pictures: Path, source: Path, official: bool = False) -> str:
    """The first contradiction in the lists images, annotations and categories, or with the folder of the pictures; else empty.

    `source` is the file that they come from. Boxes and areas are compared with their masks but in an `official` file, which
    is as it is. KeyError, TypeError or ValueError where an entry is not of COCO's form at all; UserError for a path that leaves
    the folder.
    """
    if not content["images"] or not content["categories"]:
        return f"the list of {'categories' if content['images'] else 'images'} is empty"
    for name, what in (("images", "image"), ("categories", "category"), ("annotations", "annotation")):
        if odd := [item["id"] for item in content[name] if not isinstance(item["id"], int)]:
            return f"the {what} id {odd[0]!r} is no whole number"
        (identity, times), *_ = Counter(item["id"] for item in content[name]).most_common(1) or [(0, 0)]
        if times > 1:
            return f"the {what} id {identity} occurs {times} times, expected once"
    for item in content["categories"]:
        if not isinstance(item["name"], str) or spelled(item["name"]) != item["name"]:
            return f"the category {item['id']} has the name {item['name']!r}, expected text"
    for item in content["images"]:
        if not below(pictures, item["file_name"], source).is_file():
            return f"image {item['id']} is the file '{pictures.name}/{item['file_name']}', which is missing"
    sizes = {item["id"]: (item["height"], item["width"]) for item in content["images"]}
    categories = {item["id"] for item in content["categories"]}
    for item in content["annotations"]:
        reason = _annotation_problem(item, sizes, categories)
        if reason := reason or ("" if official else _contradiction(item, sizes[item["image_id"]])):
            return f"annotation {item['id']} {reason}"
    ends = [max(item["bbox"][0] + item["bbox"][2], item["bbox"][1] + item["bbox"][3]) for item in content["annotations"]]
    if ends and max(ends) <= 1:
        return f"all {len(ends)} boxes lie within the first pixel, as if divided by the image's size, expected pixels"
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
    reason = _mask_problem(item["segmentation"], height, width) if "segmentation" in item else ""
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
    return ""


def _contradiction(item: dict[str, Any], size: tuple[int, int]) -> str:
    """How an annotation's area or box contradicts its mask, or its area its box where it has none; empty where they agree."""
    area, (x, y, wide, high) = item["area"], map(float, item["bbox"])
    if "segmentation" not in item:
        if LEAST_FILLED * wide * high - AREA_SLACK[0] <= area <= wide * high + AREA_SLACK[0]:
            return ""
        return f"has the area {area:g} and a box of {wide:g} x {high:g} pixels, which is {wide * high:g}"
    found = measured(item["segmentation"])
    if _apart(area, found.area, *AREA_SLACK):
        drawn = masks.area(item["segmentation"], *size)  # of polygons that overlap or cross themselves
        if _apart(area, drawn, *AREA_SLACK):
            return f"has the area {area:g} and a mask of {drawn:g} pixels"
    sides = x, y, x + wide, y + high
    left, top, right, bottom = found.sides
    slack = SIDE_SLACK[0] + SIDE_SLACK[1] * max(wide, high, right - left, bottom - top)
    if max(abs(one - other) for one, other in zip(sides, found.sides, strict=True)) <= slack:
        return ""
    return f"has the box {x:g}, {y:g}, {wide:g}, {high:g} and a mask in {left:g}, {top:g}, {right - left:g}, {bottom - top:g}"


def _apart(one: float, other: float, slack: float, share: float) -> bool:
    return abs(one - other) > slack + share * max(one, other)


def measured(segmentation: masks.Segmentation) -> Measured:
    """The size of a mask, of polygons that of all of them together (the shoelace formula)."""
    if isinstance(segmentation, dict):
        return Measured(*masks.extent(segmentation))
    area = 0.0
    for outline in segmentation:
        x, y = outline[0::2], outline[1::2]
        area += abs(sum(x[row - 1] * y[row] - x[row] * y[row - 1] for row in range(len(x)))) / 2
    x, y = ([value for outline in segmentation for value in outline[start::2]] for start in (0, 1))
    return Measured(area, (min(x), min(y), max(x), max(y)))
