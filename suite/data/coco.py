"""COCO's boxes and masks in their official layout (of 2017, or of 2014), and any other pictures in the same layout.

Source: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and the description of the data format on the
data set's page: ``annotations/instances_<split>2017.json`` beside the folders ``train2017`` and ``val2017``, or 2014 in all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.data import masks
from suite.data.annotations import problem_of
from suite.data.dataset import Dataset
from suite.data.embedded import outlines, scenes
from suite.data.embedded.writing import png
from suite.data.files import readable, shown
from suite.data.pictures import PictureCache, Pictures, pixels_of
from suite.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

PARTS = {"train": "train", "test": "val"}  # the official test sets have no annotations


@dataclass
class CocoScenes(Pictures):
    """Pictures with their annotations (:class:`suite.settings.Scenes`)."""

    images: list[dict[str, Any]]  # of each of `files`
    annotations: dict[int, list[dict[str, Any]]]  # by image id
    classes: list[dict[str, Any]]  # COCO's categories, by id

    @property
    def categories(self) -> list[str]:
        return [item["name"] for item in self.classes]

    @property
    def ids(self) -> list[int]:
        return [item["id"] for item in self.images]

    def target(self, row: int, with_masks: bool = False) -> dict[str, Tensor]:
        import torch

        entry = self.images[row]
        found = self.annotations.get(entry["id"], [])
        boxes = torch.tensor([item["bbox"] for item in found], dtype=torch.float32).reshape(-1, 4)
        label = {item["id"]: number for number, item in enumerate(self.classes, 1)}
        target = {
            "boxes": torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1),
            "labels": torch.tensor([label[item["category_id"]] for item in found], dtype=torch.int64),
            "iscrowd": torch.tensor([item["iscrowd"] for item in found], dtype=torch.int64),
        }
        if with_masks:
            size = entry["height"], entry["width"]
            drawn = [masks.decode(item["segmentation"], *size) for item in found]
            target["masks"] = torch.from_numpy(np.stack(drawn)) if drawn else torch.zeros((0, *size), dtype=torch.uint8)
        return target

    def subset(self, index: Tensor) -> CocoScenes:
        rows = index.tolist()
        return replace(self, files=[self.files[row] for row in rows], images=[self.images[row] for row in rows])

    def truth(self) -> dict[str, Any]:
        chosen = [item for image in self.ids for item in self.annotations.get(image, [])]
        return {"images": self.images, "annotations": chosen, "categories": self.classes}


@dataclass
class Coco(Dataset):
    """The reader; what it has parsed and checked is kept, as the official file takes long.

    A file of boxes alone is one without ``segmentation`` (or with empty ones); for `with_masks` it is refused. Of the embedded data
    the first test scenes are the same however many there are.
    """

    name = "coco"
    title = "COCO 2017 boxes and masks"
    version = scenes.VERSION
    layout = "a folder with annotations/instances_train2017.json, annotations/instances_val2017.json, train2017/ and val2017/"
    where_to_get = "the official archives train2017.zip, val2017.zip and annotations_trainval2017.zip from cocodataset.org"
    official_counts = ({"train": 118_287, "test": 5_000}, {"train": 82_783, "test": 40_504})  # of 2017, of 2014
    landmarks = ("annotations/instances_train2017.json", "annotations/instances_val2017.json")
    embedded_classes = scenes.CATEGORIES

    with_masks: bool = False
    test_scenes: int = scenes.COUNTS["test"]  # of the embedded data
    year: int = 2017
    parsed: dict[Path, dict[str, Any]] = field(default_factory=dict, repr=False)

    @property
    def variant(self) -> str:
        return "" if self.test_scenes == scenes.COUNTS["test"] else f"-test-{self.test_scenes}"

    def make(self, folder: Path) -> None:
        """Write the scenes as PNG files without compression, and their annotations: every byte is the same everywhere."""
        (folder / "annotations").mkdir()
        for split in PARTS:
            name = self._pictures(split)
            (folder / name).mkdir()
            images: list[dict[str, Any]] = []
            annotations: list[dict[str, Any]] = []
            count = self.test_scenes if split == "test" else None
            for number, scene in enumerate(scenes.draw_scenes(split, count), 1 if split == "train" else 100_001):
                path = folder / name / f"{number:012d}.png"
                path.write_bytes(png(scene.pixels))
                high, wide, _ = scene.pixels.shape
                images.append({"id": number, "file_name": path.name, "height": high, "width": wide})
                annotations += [_annotation(thing, number, len(annotations) + row) for row, thing in enumerate(scene.things, 1)]
            categories = [{"id": identity, "name": title, "supercategory": title.split()[-1]}
                          for identity, title in zip(scenes.CATEGORY_IDS, scenes.CATEGORIES, strict=True)]
            content = {"info": {"description": f"embedded scenes, version {self.version}"},
                       "images": images, "annotations": annotations, "categories": categories}
            self._file(folder, split).write_text(json.dumps(content, sort_keys=True), encoding="utf-8")

    def class_names(self, folder: Path) -> list[str]:
        return [item["name"] for item in self._content(folder, "train")["categories"]]

    def summary(self, found: CocoScenes, names: Sequence[str]) -> str:
        crowds = [item["iscrowd"] for items in found.annotations.values() for item in items]
        empty = len(set(found.ids) - found.annotations.keys())
        return f"{len(found)} images, {empty} of them without objects, {len(crowds) - sum(crowds)} objects, {sum(crowds)} crowds"

    def read(self, folder: Path, split: str) -> CocoScenes:
        """The pictures of a split by id with their annotations; ``"test"`` is the official validation set.

        Raises UserError for annotations that are damaged or contradict themselves, the other split or the pictures on disk.
        """
        content = self._content(folder, split)
        bare = [item["id"] for item in content["annotations"] if "segmentation" not in item]
        if self.with_masks and bare:
            raise UserError(f"In '{shown(self._file(folder, split))}' {len(bare)} of {len(content['annotations'])} annotations "
                            f"have no mask ('segmentation'), annotation {bare[0]} for one; boxes alone serve coco_detection.")
        named = [{item["id"]: item["name"] for item in self._content(folder, part)["categories"]} for part in PARTS]
        if named[0] != named[1]:
            raise UserError(f"The categories of '{shown(self._file(folder, 'train'))}' ({len(named[0])}) and of "
                            f"'{self._file(folder, 'test').name}' ({len(named[1])}) differ; give both files the same list.")
        annotations: dict[int, list[dict[str, Any]]] = {}
        for item in content["annotations"]:
            annotations.setdefault(item["image_id"], []).append(item)
        images = sorted(content["images"], key=lambda item: item["id"])
        classes = sorted(content["categories"], key=lambda item: item["id"])
        files = [folder / self._pictures(split) / item["file_name"] for item in images]
        sizes = {path: (item["height"], item["width"]) for path, item in zip(files, images, strict=True)}
        return CocoScenes(files, PictureCache(partial(_decoded, sizes=sizes), len(files)), images, annotations, classes)

    def _pictures(self, split: str) -> str:
        return f"{PARTS[split]}{self.year}"

    def _file(self, folder: Path, split: str) -> Path:
        return folder / "annotations" / f"instances_{self._pictures(split)}.json"

    def _content(self, folder: Path, split: str) -> dict[str, Any]:
        path = self._file(folder, split)
        if path not in self.parsed:
            self.parsed[path] = self._checked(folder, split)
        return self.parsed[path]

    def _checked(self, folder: Path, split: str) -> dict[str, Any]:
        path = self._file(folder, split)
        if not path.is_file():
            raise UserError(f"'{shown(path)}' is missing; get {self.where_to_get}.")
        try:
            with readable():
                content = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise UserError(f"'{shown(path)}' is no readable JSON ({error}); get {self.where_to_get}.") from None
        lists = ("images", "annotations", "categories")
        if not isinstance(content, dict) or not all(isinstance(content.get(name), list) for name in lists):
            raise UserError(f"'{shown(path)}' lacks one of the lists {', '.join(lists)}; get {self.where_to_get}.")
        official = any(len(content["images"]) == counts[split] for counts in self.official_counts)
        try:
            for item in content["annotations"]:
                _complete(item)
            if official:  # a few of its boxes have no height
                content["annotations"] = [item for item in content["annotations"] if min(item["bbox"][2:]) > 0]
            problem = problem_of(content, folder / self._pictures(split), path, official)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            problem = f"an image, annotation or category is not of COCO's form ({type(error).__name__}: {error})"
        if problem:
            raise UserError(f"In '{shown(path)}' {problem}; mend that entry or get {self.where_to_get}.")
        return content


def _complete(item: dict[str, Any]) -> None:
    """Add what files of boxes alone leave out, and take an empty mask away."""
    item.setdefault("iscrowd", 0)
    if not item.get("segmentation"):
        item.pop("segmentation", None)
        item.setdefault("area", item["bbox"][2] * item["bbox"][3])


def _decoded(path: Path, sizes: Mapping[Path, tuple[int, int]]) -> Tensor:
    """uint8 (3, H, W); UserError where that is not the size that the annotations say."""
    pixels, (high, wide) = pixels_of(path), sizes[path]
    if pixels.shape[1:] != (high, wide):
        raise UserError(f"'{path.parent.name}/{path.name}' is {pixels.shape[2]} x {pixels.shape[1]} pixels and its annotations say "
                        f"{wide} x {high}; copy picture and annotations again from one archive.")
    return pixels


def _annotation(thing: scenes.Thing, image: int, identity: int) -> dict[str, Any]:
    """COCO's entry of an embedded object: polygons, or run lengths for crowds and masks with holes."""
    rows, columns = (np.flatnonzero(thing.mask.any(axis)).tolist() for axis in (1, 0))
    return {
        "id": identity, "image_id": image, "category_id": scenes.CATEGORY_IDS[thing.category], "iscrowd": int(thing.crowd),
        "area": float(thing.mask.sum()),
        "bbox": [float(columns[0]), float(rows[0]), float(columns[-1] - columns[0] + 1), float(rows[-1] - rows[0] + 1)],
        "segmentation": (None if thing.crowd else outlines.polygons(thing.mask)) or outlines.runs(thing.mask),
    }
