"""Pictures with class masks in VOC's and COCO's layouts: what is read, and what is refused with which sentence."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from suite.data.coco_masks import CocoMasks
from suite.data.embedded import scenes, shapes
from suite.data.fold_lists import listed_rows, rows_by_class
from suite.data.voc import CLASSES, Voc
from suite.errors import UserError

# Of version 1, over the first pictures and masks of both splits. Another digest means other data: raise shapes.VERSION with it.
PIXELS = "6cfe9a7880f36ee87b4313b9ecfe20df0fb250a48935aac99caeee850d070881"


def mask(path: Path, values: np.ndarray, palette: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8), "P" if palette else "L")
    if palette:
        image.putpalette([value for number in range(256) for value in (number, 255 - number, 7 * number % 256)])
    image.save(path)


def halves(label: int, size: tuple[int, int] = (8, 12)) -> np.ndarray:
    """A mask whose left half is of class `label`, with an outline that is not counted."""
    found = np.zeros(size, np.uint8)
    found[:, : size[1] // 2] = label
    found[:, size[1] // 2] = 255
    return found


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """A VOC folder: of each class two pictures to train on and two to test on."""
    folder = tmp_path / "kept" / "VOC2012"  # lists are looked for two folders above
    for split, name in (("train", "train"), ("test", "val")):
        names = [f"{split}_{label:02d}_{number}" for label in range(1, 21) for number in range(2)]
        for row, item in enumerate(names):
            path = folder / "JPEGImages" / f"{item}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 12, 3), row + 100 * (split == "test"), np.uint8)).save(path)
            mask(folder / "SegmentationClass" / f"{item}.png", halves(row // 2 + 1))
        lists = folder / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{name}.txt").write_text("".join(f"{item}\n" for item in names))
    return folder


def test_masks_are_class_numbers_whatever_the_palette(voc):
    found = Voc().read(voc, "train")
    assert len(found) == 40 and found.classes == list(CLASSES)
    assert found.image(5).shape == (3, 8, 12) and found.mask(5).dtype == torch.uint8
    assert found.mask(5).unique().tolist() == [0, 3, 255] and found.counted()[5] == ({3: 48}, max(found.mask(5).shape))
    mask(voc / "SegmentationClass" / "train_03_1.png", halves(3), palette=False)
    assert torch.equal(Voc().read(voc, "train").mask(5), found.mask(5))
    assert Voc().check(voc) == [] and Voc().counts(voc) == {"train": 40, "test": 40} and Voc().classify(voc) == "subset"


def test_the_larger_lists_and_masks_come_first(voc):
    (voc / "ImageSets" / "Segmentation" / "trainaug.txt").write_text("test_01_0\n")
    assert [file.name for file in Voc().read(voc, "train").files] == ["test_01_0"]
    (voc / "ImageSets" / "Segmentation" / "voc_sbd_merge_noduplicate.txt").write_text(
        "JPEGImages/train_02_0.jpg SegmentationClass/train_02_0.png\nJPEGImages/train_02_0.jpg SegmentationClass/train_02_0.png\n")
    (file,) = Voc().read(voc, "train").files
    assert (file.name, file.mask.parent.name) == ("train_02_0", "SegmentationClass")
    for item in [*(voc / "SegmentationClass").iterdir()]:
        mask(voc / "SegmentationClassAug" / item.name, halves(7))
    assert Voc().read(voc, "test").files[0].mask.parent.name == "SegmentationClassAug"


@pytest.mark.parametrize("break_it, sentence", [
    (lambda folder: (folder / "JPEGImages/train_02_0.jpg").unlink(), "'VOC2012/JPEGImages/train_02_0.jpg' is missing, but .* names it"),
    (lambda folder: (folder / "SegmentationClass/train_02_0.png").unlink(), "SegmentationClass/train_02_0.png' is missing"),
    (lambda folder: (folder / "ImageSets/Segmentation/val.txt").unlink(), "'ImageSets/Segmentation/val.txt' is missing; write it"),
    (lambda folder: (folder / "ImageSets/Segmentation/val.txt").write_text("\n"), "is empty; get"),
    (lambda folder: (folder / "ImageSets/Segmentation/val.txt").write_text("../../x\n"), "leaves the folder"),
    (lambda folder: mask(folder / "SegmentationClass/test_02_0.png", halves(2, (8, 14))),
     "The mask of '.*test_02_0.jpg' has 14x8 pixels and the picture has 12x8; copy"),
    (lambda folder: mask(folder / "SegmentationClass/test_02_0.png", halves(21)),
     "has the value 21 in 48 pixels, expected 0 to 20 for the 20 classes and 255"),
    (lambda folder: Image.new("RGB", (12, 8)).save(folder / "SegmentationClass/test_02_0.png"), r"has colours \(RGB\), expected a PNG"),
    (lambda folder: (folder / "JPEGImages/test_02_0.jpg").write_bytes(b"no picture"), "is not a readable image"),
])
def test_what_is_wrong_is_said_in_one_sentence(voc, break_it, sentence):
    break_it(voc)
    (found,) = set(Voc().check(voc))
    with pytest.raises(UserError, match=sentence):
        raise UserError(found)


def test_hsnets_lists_are_read_and_compared_with_the_fold(voc):
    reader = Voc()
    assert reader.pairs(voc, "train", 0) is None is reader.pairs(voc, "test", 0)
    for split, fold, content in (("trn", 0, "train_01_0__01\n"), ("trn", 1, "train_06_0__06\ntrain_06_1__06\n"), ("trn", 2, "train_11_0__11\n"),
                                 ("trn", 3, "train_16_0__16\n"), ("val", 0, "test_01_0__01\n")):
        path = voc.parent / "splits" / "pascal" / split / f"fold{fold}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert reader.pairs(voc, "train", 0) == [("train_06_0", 6), ("train_06_1", 6), ("train_11_0", 11), ("train_16_0", 16)]
    assert reader.pairs(voc, "test", 0) == [("test_01_0", 1)] and reader.pairs(voc, "test", 1) is None
    assert any(name.endswith("fold0.txt") for name in reader.files(voc))
    pictures = reader.read(voc, "train")
    assert listed_rows(pictures, [6, 7, 11, 16], reader.pairs(voc, "train", 0), [], "'train'") == {6: [10, 11], 7: [], 11: [20], 16: [30]}
    for pair, sentence in ((("train_01_0", 1), "'aeroplane' belongs to the other part of the fold: what is tested is never trained on"),
                           (("nobody", 6), "'nobody__06', but there is no such picture"),
                           (("train_07_0", 6), "no pixel of 'bus'")):
        with pytest.raises(UserError, match=sentence):
            listed_rows(pictures, [6, 7], [pair], [], "'train'")
    path.write_text("test_01_0 01\n")
    with pytest.raises(UserError, match="has the line 'test_01_0 01', expected <picture>__<class of 1 to 20>"):
        reader.pairs(voc, "test", 0)


def test_pictures_serve_for_a_class_by_its_pixels_and_without_others(voc):
    mask(voc / "SegmentationClass" / "train_06_1.png", np.where(np.arange(12)[None] + np.zeros((8, 1)) < 6, 6, 1))
    mask(voc / "SegmentationClass" / "train_07_0.png", np.pad(np.full((2, 2), 7), ((0, 6), (0, 10))))
    pictures = Voc().read(voc, "train")
    assert rows_by_class(pictures, [6, 7], 1, 32) == {6: [10, 11], 7: [12, 13]}
    assert rows_by_class(pictures, [6, 7], 5, 32, without=[1]) == {6: [10], 7: [13]}


def test_pictures_do_not_serve_for_a_class_that_vanishes_at_the_networks_size(voc):
    mask(voc / "SegmentationClass" / "train_07_0.png", np.pad(np.full((1, 1), 7), ((0, 7), (0, 11))))
    pictures = Voc().read(voc, "train")
    assert 12 in rows_by_class(pictures, [7], 1, 8 * 12)[7]  # one pixel of 12 across, 64 when eight times as large
    assert 12 not in rows_by_class(pictures, [7], 1, 8 * 12 - 1)[7]
    mask(voc / "SegmentationClass" / "train_07_0.png", np.pad(np.full((1, 2), 7), ((0, 7), (0, 10))))
    assert 12 in rows_by_class(Voc().read(voc, "train"), [7], 1, 16)[7]  # of a small square, a 128th


def test_embedded_shapes():
    total = hashlib.sha256()
    seen = set()
    for split in shapes.COUNTS:
        for pixels, classes in shapes.draw_pictures(split, 12):
            total.update(f"{pixels.shape}".encode() + pixels.tobytes() + classes.tobytes())
            assert pixels.shape[:2] == classes.shape and set(np.unique(classes)) <= {*range(21), 255}
            seen.add(pixels.tobytes())
    assert len(seen) == 24
    assert (shapes.VERSION, total.hexdigest()) == (1, PIXELS)


def test_neither_silhouette_nor_texture_nor_colours_tell_an_embedded_class():
    assert len(set(shapes.PARTS)) == 20 and not set(shapes.PARTS) & set(scenes.PARTS)  # the photographs' classes are others
    made_of = [(*part, colour) for part, colour in zip(shapes.PARTS, shapes.COLOURED, strict=True)]
    for parts, owners in zip(zip(*made_of, strict=True), (2, 2, 4), strict=True):
        assert all(parts.count(part) == owners for part in parts)
    for first, second in itertools.combinations(made_of, 2):
        assert sum(one == other for one, other in zip(first, second, strict=True)) <= 1
    assert not set(shapes.UNNAMED) & set(shapes.PARTS)


def coco(folder: Path, year: int) -> Path:
    """Two splits of one picture: a large object of category 3 with a small one of category 1 over it, and a crowd."""
    def square(identity: int, category: int, left: int, side: int, crowd: int = 0) -> dict:
        corners = [left, 0, left + side, 0, left + side, side, left, side]
        runs = np.zeros((8, 12), bool)
        runs[:side, left : left + side] = True
        flat = runs.T.ravel().astype(int)
        counts = np.diff(np.concatenate(([0], np.flatnonzero(np.diff(flat)) + 1, [flat.size])))
        rle = {"size": [8, 12], "counts": ([0] if flat[0] else []) + counts.tolist()}
        return {"id": identity, "image_id": 1, "category_id": category, "iscrowd": crowd, "area": side**2,
                "bbox": [left, 0, side, side], "segmentation": rle if crowd else [corners]}

    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for part in ("train", "val"):
        (folder / f"{part}{year}").mkdir()
        Image.new("RGB", (12, 8)).save(folder / f"{part}{year}" / "1.png")
        content = {"images": [{"id": 1, "file_name": "1.png", "height": 8, "width": 12}],
                   "annotations": [square(1, 1, 2, 3), square(2, 3, 0, 6), square(3, 1, 5, 4, crowd=1)],
                   "categories": [{"id": 1, "name": "first"}, {"id": 3, "name": f"third of {year}"}]}
        (folder / "annotations" / f"instances_{part}{year}.json").write_text(json.dumps(content))
    return folder


def test_cocos_objects_become_one_mask_small_ones_on_top_and_crowds_not_counted(tmp_path):
    found = CocoMasks().read(coco(tmp_path, 2017), "test")
    assert found.classes == ["first", "third of 2017"]
    assert found.mask(0)[0].tolist() == [2, 2, 1, 1, 1, 2, 255, 255, 255, 0, 0, 0]
    assert found.counted()[0].areas == {1: 9, 2: 36 - 9}


def test_coco_2014_goes_before_2017(tmp_path):
    reader = CocoMasks()
    coco(tmp_path, 2017)
    assert reader.matches(tmp_path) and reader.reader(tmp_path).year == 2017
    coco(tmp_path, 2014)
    assert reader.read(tmp_path, "train").classes == ["first", "third of 2014"]
    assert all("2014" in name for name in reader.files(tmp_path)) and reader.check(tmp_path) == []
