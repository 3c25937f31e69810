"""COCO's layout: the embedded scenes, what the reader gives, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pieces import some_of_coco
from PIL import Image

from suite.data import source
from suite.data.coco import Coco
from suite.data.embedded import scenes
from suite.data.results import completed, read_results
from suite.errors import UserError
from suite.metrics import coco_scores

# Of version 2, over every file. Another digest means other data: raise scenes.VERSION with it.
DIGEST = "c5aeea35edc8d6d6781efe71bcac66ad3de7e9a21022117e7226b001096ac82a"


@pytest.fixture(scope="module")
def embedded(cache: Path) -> source.Source:
    return source.source_of(Coco(), source.embedded_folder(Coco(), cache))


@pytest.fixture
def copy(embedded: source.Source, tmp_path: Path) -> Path:
    """Five scenes of each split, to break."""
    return some_of_coco(embedded.folder, tmp_path / "coco", "instances", 5)


def test_bytes_never_change_without_a_new_version(embedded: source.Source) -> None:
    assert scenes.VERSION == 2
    assert embedded.kind == "embedded" and embedded.counts == scenes.COUNTS
    assert embedded.digest == DIGEST
    assert Coco().check(embedded.folder) == []


def test_more_test_scenes_begin_with_the_usual_ones(embedded: source.Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scenes.COUNTS, "train", 4)
    more = Coco(test_scenes=153)
    folder = source.embedded_folder(more, tmp_path)
    assert folder.name == "coco-v2-test-153" and Coco().variant == "" and source.source_of(more, folder).kind == "embedded"
    usual, found = Coco().read(embedded.folder, "test"), more.read(folder, "test")
    assert len(found) == 153 and found.images[:150] == usual.images and more.check(folder) == []
    assert all(found.annotations.get(image) == usual.annotations.get(image) for image in usual.ids)
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(found.files, usual.files, strict=False))


def test_scenes_hold_every_case(embedded: source.Source) -> None:
    for split in ("train", "val"):
        content = json.loads((embedded.folder / "annotations" / f"instances_{split}2017.json").read_text())
        found = content["annotations"]
        assert {item["category_id"] for item in found} == set(scenes.CATEGORY_IDS)
        assert len({item["image_id"] for item in found}) < len(content["images"])
        kinds = {(item["iscrowd"], type(item["segmentation"])) for item in found}
        assert kinds == {(0, list), (0, dict), (1, dict)}
        areas = np.array([item["area"] for item in found])
        assert {int(size) for size in np.searchsorted([32**2, 96**2], areas)} == {0, 1, 2}  # small, medium, large
        assert any(len(item["segmentation"]) > 1 for item in found if not item["iscrowd"] and isinstance(item["segmentation"], list))


def test_masks_on_disk_are_the_drawn_ones(embedded: source.Source) -> None:
    images = Coco().read(embedded.folder, "test")
    for row, scene in enumerate(scenes.draw_scenes("test", 20)):
        target = images.target(row, with_masks=True)
        assert np.array_equal(images.image(row).permute(1, 2, 0), scene.pixels)
        assert [scenes.CATEGORIES[thing.category] for thing in scene.things] == [images.categories[label - 1] for label in target["labels"]]
        assert target["iscrowd"].tolist() == [int(thing.crowd) for thing in scene.things]
        for drawn, box, thing in zip(target["masks"], target["boxes"].tolist(), scene.things, strict=True):
            assert np.array_equal(drawn, thing.mask)
            rows, columns = np.nonzero(thing.mask)
            assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_no_pixel_has_two_owners_and_nothing_is_hidden() -> None:
    for scene in scenes.draw_scenes("train", 40):
        assert sum(thing.mask.astype(int) for thing in scene.things if not thing.crowd).max(initial=0) <= 1 if scene.things else True
        assert all(thing.mask.sum() >= scenes.LEAST_PIXELS for thing in scene.things)


def test_a_subset_keeps_its_truth(embedded: source.Source) -> None:
    images = Coco().read(embedded.folder, "train").subset(torch.tensor([5, 1]))
    assert images.ids == [6, 2] and len(images) == 2
    assert {item["image_id"] for item in images.truth()["annotations"]} <= {6, 2}
    assert len(images.truth()["annotations"]) == len(images.target(0)["labels"]) + len(images.target(1)["labels"])


def _annotation(change: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["annotations"][0].update(change)


def _polygon(content: dict[str, Any]) -> None:
    content["annotations"][0]["segmentation"] = [[0.0, 0.0, 500.0, 0.0, 500.0, 9.0]]


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a missing image": (lambda content: content["images"][2].update(file_name="no.png"), "image 3 is the file 'train2017/no.png', which is missing"),
    "a category out of range": (_annotation({"category_id": 91}), "category id 91, expected one of the 6"),
    "a mask outside": (_polygon, "a mask outside its image of 160 x 128 pixels"),
    "a mask of another size": (_annotation({"segmentation": {"size": [9, 9], "counts": [81]}}), "of another size than its image"),
    "a damaged mask": (_annotation({"segmentation": {"size": [160, 128], "counts": "PPPP"}}), "run lengths that do not fill 128 x 160 pixels"),
    "a box of another place": (_annotation({"bbox": [0, 0, 160, 128]}), "has the box 0, 0, 160, 128 and a mask in"),
    "an area of another size": (_annotation({"area": 1.0}), "annotation 1 has the area 1 and a mask of"),
    "an id of text": (_annotation({"id": "one"}), "the annotation id 'one' is no whole number"),
    "a category without a name": (lambda content: content["categories"][0].update(name=None), "the category 1 has the name None"),
    "a name of half a letter": (lambda content: content["categories"][0].update(name="\ud800"), "has the name .*, expected text"),
    "an image elsewhere": (lambda content: content["images"][0].update(file_name="../val2017/000000100001.png"), "which leaves the folder"),
    "an annotation of another kind": (lambda content: content["annotations"].insert(0, "one"), "not of COCO's form"),
    "half a polygon": (_annotation({"segmentation": [[1.0, 1.0, 2.0]]}), "a polygon of 3 numbers"),
    "a box without area": (_annotation({"bbox": [3, 3, 0, 5]}), "a box 0 pixels wide and 5 high"),
    "a box outside": (_annotation({"bbox": [3, 3, 900, 5]}), "outside its image of 160 x 128"),
    "a box of text": (_annotation({"bbox": "none"}), "not of COCO's form"),
    "duplicate images": (lambda content: content["images"][1].update(id=1), "the image id 1 occurs 2 times"),
    "duplicate annotations": (lambda content: content["annotations"][1].update(id=1), "the annotation id 1 occurs 2 times"),
    "duplicate categories": (lambda content: content["categories"][1].update(id=1), "the category id 1 occurs 2 times"),
    "no categories": (lambda content: content["categories"].clear(), "the list of categories is empty"),
    "an id of 0": (_annotation({"id": 0}), "the id 0, which pycocotools takes for no annotation"),
    "an odd crowd": (_annotation({"iscrowd": 7}), "iscrowd 7, expected 0 or 1"),
    "a box of NaN": (_annotation({"bbox": [float("nan"), 3, 5, 5]}), "the box nan, 3, 5, 5 outside"),
    "a polygon of NaN": (_annotation({"segmentation": [[1, 1, 5, 5, 1, float("nan")]]}), "a mask outside its image"),
    "no area": (lambda content: content["annotations"][0].pop("area"), "not of COCO's form (KeyError: 'area'"),
    "an area of NaN": (_annotation({"area": float("nan")}), "the area nan"),
    "categories of the other split": (lambda content: content["categories"][0].update(name="other"), "differ; give both files the same"),
    "an annotation of no image": (_annotation({"image_id": 77}), "belongs to image 77, which is not in the list"),
    "no images": (lambda content: content["images"].clear(), "the list of images is empty"),
    "no list": (lambda content: content.pop("categories"), "lacks one of the lists"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_bad_annotations_get_one_sentence(copy: Path, case: str) -> None:
    path = copy / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    assert Coco().read(copy, "train")
    change, expected = BROKEN[case]
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=expected.replace("(", r"\(")) as found:
        Coco().read(copy, "train")
    assert "\n" not in str(found.value) and Coco().check(copy)


def changed(copy: Path, change: Callable[[dict[str, Any]], None], splits: tuple[str, ...] = ("train", "val")) -> None:
    """The annotation files of `copy` with each entry changed."""
    for split in splits:
        path = copy / "annotations" / f"instances_{split}2017.json"
        content = json.loads(path.read_text())
        for item in content["annotations"]:
            change(item)
        path.write_text(json.dumps(content))


@pytest.mark.parametrize("segmentation", [None, [], "absent"])
def test_boxes_alone_serve_box_detection(copy: Path, segmentation: Any) -> None:
    def bare(item: dict[str, Any]) -> None:
        del item["area"]
        item["segmentation"] = segmentation
        if segmentation == "absent":
            del item["segmentation"]

    before = Coco().read(copy, "test").target(0)["boxes"]
    changed(copy, bare)
    assert Coco().check(copy) == []
    found = Coco().read(copy, "test")
    assert torch.equal(found.target(0)["boxes"], before)
    entries = [item for items in found.annotations.values() for item in items]
    assert all(item["area"] == item["bbox"][2] * item["bbox"][3] for item in entries)
    perfect = [{**{key: item[key] for key in ("image_id", "category_id", "bbox")}, "score": 1.0} for item in entries if not item["iscrowd"]]
    assert coco_scores(found.truth(), perfect, "bbox")["AP"] == pytest.approx(100)
    (first, second) = Coco(with_masks=True).check(copy)
    assert "annotations have no mask ('segmentation'), annotation 1 for one; boxes alone serve coco_detection" in first
    assert "instances_val2017.json" in second


@pytest.mark.parametrize("change, sentence", [
    ({"area": 5000.0}, r"annotation \d+ has the area 5000 and a box of .* pixels, which is"),
    ({"bbox": [0.1, 0.1, 0.5, 0.5], "area": 0.25}, r"all \d+ boxes lie within the first pixel, as if divided by the image's size"),
])
def test_boxes_alone_that_contradict_themselves(copy: Path, change: dict[str, Any], sentence: str) -> None:
    changed(copy, lambda item: item.update({"segmentation": [], **change}))
    with pytest.raises(UserError, match=sentence):
        Coco().read(copy, "train")


def test_areas_and_boxes_may_miss_their_masks_a_little(copy: Path) -> None:
    def loose(item: dict[str, Any]) -> None:
        x, y, wide, high = item["bbox"]
        item["bbox"], item["area"] = [x + 0.5, y + 0.5, wide - 0.5, high - 0.5], 0.8 * item["area"]

    changed(copy, loose)
    assert Coco().check(copy) == []


def test_overlapping_polygons_are_measured_together(copy: Path) -> None:
    """Three times the same square: their sum contradicts the area, their pixels do not."""
    square = [10, 10, 30, 10, 30, 30, 10, 30]
    changed(copy, lambda item: item.update(bbox=[10, 10, 20, 20], area=400.0, iscrowd=0, segmentation=[square] * 3))
    assert Coco().check(copy) == []


def test_json_with_a_mark_or_in_utf16_is_read(copy: Path) -> None:
    path = copy / "annotations" / "instances_train2017.json"
    text = path.read_text()
    for coding in ("utf-8-sig", "utf-16"):
        path.write_text(text, encoding=coding)
        assert len(Coco().read(copy, "train")) == 5
    path.write_text("[" * 100_000)
    with pytest.raises(UserError, match="no readable JSON"):
        Coco().read(copy, "train")


def test_results_lose_the_keys_that_results_do_not_have(tmp_path: Path) -> None:
    entry = {"image_id": 1, "category_id": 3, "bbox": [4, 5, 20, 16], "score": 0.9}
    (tmp_path / "results.json").write_text(json.dumps([{**entry, "caption": "a", "segmentation": None, "keypoints": [1]}]))
    assert read_results(str(tmp_path / "results.json"), [3]) == [entry]
    assert completed([{**entry, "caption": "a", "area": 7}], {1: (48, 64)}) == [entry]
    truth = {"images": [{"id": 1, "height": 48, "width": 64}], "categories": [{"id": 3, "name": "a"}],
             "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [4, 5, 20, 16], "area": 320, "iscrowd": 0}]}
    assert coco_scores(truth, read_results(str(tmp_path / "results.json"), [3]))["AP"] == pytest.approx(100)


@pytest.mark.parametrize("entry", ["text", [1], None, {"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 10**400},
                                   {"image_id": 1, "category_id": 3, "bbox": 7, "score": 0.5}])
def test_results_of_another_form_get_one_sentence(tmp_path: Path, entry: Any) -> None:
    (tmp_path / "results.json").write_text(json.dumps([entry]))
    with pytest.raises(UserError, match="Entry 0 of .* expected a list of"):
        read_results(str(tmp_path / "results.json"), [3])


def test_damaged_files_get_one_sentence(copy: Path) -> None:
    (copy / "val2017" / "000000100002.png").write_bytes(b"nothing")
    assert ["000000100002.png" in sentence for sentence in Coco().check(copy)] == [True]
    Image.new("RGB", (7, 7)).save(copy / "val2017" / "000000100002.png")
    assert ["7 x 7 pixels" in sentence for sentence in Coco().check(copy)] == [True]
    (copy / "annotations" / "instances_val2017.json").write_text("{")
    with pytest.raises(UserError, match="no readable JSON"):
        Coco().read(copy, "test")
