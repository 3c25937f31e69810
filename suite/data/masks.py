"""Masks of objects as COCO writes them: polygons around pixels, and run lengths.

Source: the COCO data format and pycocotools' mask interface. Run lengths go down the columns and start with zeros.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Segmentation = list[list[float]] | dict[str, Any]  # polygons x1, y1, x2, y2, ..., or {"size": [H, W], "counts": ...}


def lengths(runs: Any) -> list[int]:
    """The run lengths of ``{"size": ..., "counts": ...}``, compressed or not; ValueError where they do not fill the size.

    pycocotools reads beyond its memory where they do not. Compressed, a run is its difference from the one before the last in
    groups of five bits, lowest first, the sixth saying that another follows and the fifth of the last group the sign.
    """
    if not (isinstance(runs, dict) and {"size", "counts"} <= runs.keys()):
        raise ValueError("no run lengths {size, counts}")
    found, value, shift = [], 0, 0
    if isinstance(runs["counts"], list):
        found = [int(count) for count in runs["counts"]]
    for letter in (ord(letter) - 48 for letter in ("" if found else runs["counts"])):
        value |= (letter & 31) << shift
        shift += 5
        if not letter & 32:
            value -= (1 << shift) if letter & 16 else 0
            found.append(value + (found[-2] if len(found) > 2 else 0))
            value, shift = 0, 0
    high, wide = runs["size"]
    if shift or min(found, default=-1) < 0 or sum(found) != high * wide:
        raise ValueError(f"run lengths that do not fill {wide} x {high} pixels")
    return found


def area(segmentation: Segmentation, height: int, width: int) -> float:
    """The pixels inside any of COCO's three forms."""
    from pycocotools import mask as coding

    return float(coding.area(encode(segmentation, height, width)))


def extent(runs: dict[str, Any]) -> tuple[float, tuple[float, float, float, float]]:
    """The pixels inside run lengths, and the box around them: left, top, right, bottom."""
    from pycocotools import mask as coding

    coded = encode(runs, *runs["size"])
    left, top, wide, high = coding.toBbox(coded).tolist()
    return float(coding.area(coded)), (left, top, left + wide, top + high)


def decode(segmentation: Segmentation, height: int, width: int) -> np.ndarray:
    """uint8 (H, W), 1 inside, of any of COCO's three forms."""
    from pycocotools import mask as coding

    return coding.decode(encode(segmentation, height, width))


def encode(segmentation: Segmentation, height: int, width: int) -> dict[str, Any]:
    """Compressed run lengths of any of COCO's three forms, as pycocotools' other functions want them."""
    from pycocotools import mask as coding

    if isinstance(segmentation, list):
        return coding.merge(coding.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return coding.frPyObjects(segmentation, height, width)
    return segmentation
