"""COCO's objects as one mask of class numbers for each picture, as few-shot segmentation uses them (COCO-20i).

Masks are drawn from the instances: larger objects first, so that small ones stay to be seen; crowds are not counted (255). A class
has the number of its place in the list of categories by id, from 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from suite.data import masks
from suite.data.coco import Coco
from suite.data.dataset import Dataset
from suite.data.segmented import NOT_COUNTED, SegmentedFile, SegmentedPictures, segmented_pictures


class CocoMasks(Dataset):
    """COCO 2014, which COCO-20i is made of, or where that is not there COCO 2017; the embedded data are those of ``coco``."""

    name = Coco.name
    title = "COCO's masks by class"
    version = Coco.version
    layout = "a folder with annotations/instances_{train,val}2014.json, train2014/ and val2014/, or the same of 2017"
    where_to_get = "train2014.zip, val2014.zip and annotations_trainval2014.zip from cocodataset.org"
    official_counts = Coco.official_counts
    embedded_classes = Coco.embedded_classes
    years = (2014, 2017)

    def __init__(self) -> None:
        self.readers = {year: Coco(with_masks=True, year=year) for year in self.years}

    def matches(self, folder: Path) -> bool:
        return any((folder / "annotations" / f"instances_{part}{year}.json").is_file()
                   for year in self.years for part in ("train", "val"))

    def reader(self, folder: Path) -> Coco:
        """That of 2014 if any of its annotations are there."""
        first, second = self.years
        return self.readers[first if any((folder / "annotations").glob(f"instances_*{first}.json")) else second]

    def make(self, folder: Path) -> None:
        self.readers[2017].make(folder)

    def class_names(self, folder: Path) -> list[str]:
        return self.reader(folder).class_names(folder)

    def summary(self, found: SegmentedPictures, names: Sequence[str]) -> str:
        return f"{len(found)} images, {len(set().union(*(item.areas for item in found.counted())))} classes"

    def files(self, folder: Path) -> dict[str, Path]:
        year = self.reader(folder).year
        lists = {f"annotations/instances_{part}{year}.json": folder / "annotations" / f"instances_{part}{year}.json"
                 for part in ("train", "val")}
        return lists | {file.image.relative_to(folder).as_posix(): file.image
                        for split in self.splits(folder) for file in self.read(folder, split).files}

    def read(self, folder: Path, split: str) -> SegmentedPictures:
        """The pictures of a split by id; ``"test"`` is the official validation set. UserError as of `Coco`."""
        scenes = self.reader(folder).read(folder, split)
        numbers = {item["id"]: number for number, item in enumerate(scenes.classes, 1)}
        files = [SegmentedFile(path.stem, path, row) for row, path in enumerate(scenes.files)]
        sizes = [(item["height"], item["width"]) for item in scenes.images]
        objects = [scenes.annotations.get(item["id"], []) for item in scenes.images]
        return segmented_pictures(files, scenes.categories, partial(_drawn, sizes=sizes, objects=objects, numbers=numbers))


def _drawn(
    file: SegmentedFile, sizes: Sequence[tuple[int, int]], objects: Sequence[Sequence[dict[str, Any]]], numbers: Mapping[int, int]
) -> np.ndarray:
    assert isinstance(file.mask, int)
    drawn = np.zeros(sizes[file.mask], np.uint8)
    for item in sorted(objects[file.mask], key=lambda item: (-item["iscrowd"], -item["area"])):
        inside = masks.decode(item["segmentation"], *drawn.shape) > 0
        drawn[inside] = NOT_COUNTED if item["iscrowd"] else numbers[item["category_id"]]
    return drawn
