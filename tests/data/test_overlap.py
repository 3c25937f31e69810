"""Test data in training data, by bytes: refused in every reader, before a run as well, and looked for once."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from suite.data import captions, dataset, source
from suite.data.change import ChangeData
from suite.data.cifar import Cifar10
from suite.data.cifar10n import Cifar10N
from suite.data.coco import Coco
from suite.data.dataset import Dataset
from suite.data.embedded.writing import pickled, png
from suite.data.har import FILE, AstarHar
from suite.data.imagenet import ImageNet
from suite.data.kitti import LEAST, Kitti
from suite.data.overlap import Shared, shared
from suite.data.pictures import Stored
from suite.data.sessions import Cifar100Sessions
from suite.errors import UserError


def picture(path: Path, value: int, mark: int = 1) -> None:
    """Of one colour but for a corner."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((8, 8, 3), value, np.uint8)
    pixels[0, 0] += mark
    path.write_bytes(png(pixels))



def cifar10(folder: Path, leak: bool) -> None:
    for number, name in enumerate(Cifar10.batches["train"] + Cifar10.batches["test"]):
        pixels = np.full((4, 3072), number, np.uint8) if not (leak and number == 5) else np.full((4, 3072), 2, np.uint8)
        pixels[:, 0] += 1
        (folder / name).write_bytes(pickled({"data": pixels, "labels": [0, 1, 2, 3]}))
    (folder / "batches.meta").write_bytes(pickled({"label_names": list("abcdefghij")}))


def cifar10n(folder: Path, leak: bool) -> None:
    cifar10(folder, leak)
    labels = np.array([0, 1, 2, 3] * 5)
    names = ("clean_label", "worse_label", "aggre_label", "random_label1", "random_label2", "random_label3")
    torch.save(dict.fromkeys(names, labels), folder / "CIFAR-10_human.pt")


def cifar100(folder: Path, leak: bool) -> None:
    for number, name in enumerate(("train", "test")):
        fine = [row % 100 for row in range(500)]
        pixels = np.full((500, 3072), 0 if leak else number, np.uint8)
        pixels[:, 0] += 1
        (folder / name).write_bytes(pickled({"data": pixels, "fine_labels": fine, "coarse_labels": [x // 5 for x in fine]}))
    (folder / "meta").write_bytes(pickled({"fine_label_names": ["x"] * 100, "coarse_label_names": ["y"] * 20}))


def har(folder: Path, leak: bool) -> None:
    windows = np.arange(12 * 9 * 64, dtype=np.float32).reshape(12, 9, 64)
    labels = np.arange(6) % 3
    np.savez(folder / FILE, train_x=windows[:6], train_y=labels, test_x=windows[:6] if leak else windows[6:], test_y=labels)


def imagenet(folder: Path, leak: bool) -> None:
    for number in range(2):
        picture(folder / "train" / f"n0000000{number}" / "a.png", number)
        picture(folder / "val" / f"n0000000{number}" / "other_name.png", number if leak else 7 + number)


def coco(folder: Path, leak: bool) -> None:
    (folder / "annotations").mkdir()
    for number, split in enumerate(("train", "val")):
        picture(folder / f"{split}2017" / f"{number}.png", 0 if leak else number)
        box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}
        content = {"images": [{"id": 1, "file_name": f"{number}.png", "height": 8, "width": 8}], "annotations": [box],
                   "categories": [{"id": 1, "name": "a"}]}
        (folder / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))


def captioned(folder: Path, leak: bool) -> None:
    (folder / "annotations").mkdir()
    for number, split in enumerate(("train", "val")):
        for row in range(captions.ENOUGH):
            value = (2 * row + (0 if leak else number)) % 256
            picture(folder / f"{split}2017" / f"{row}.png", value, 1 + row // 128)
        images = [{"id": row, "file_name": f"{row}.png"} for row in range(captions.ENOUGH)]
        texts = [{"id": row, "image_id": row, "caption": "A cat."} for row in range(captions.ENOUGH)]
        content = {"images": images, "annotations": texts}
        (folder / "annotations" / f"captions_{split}2017.json").write_text(json.dumps(content))


def street(folder: Path, leak: bool) -> None:
    for number, split in enumerate(("train", "test")):
        first, second = (20, 10) if leak and split == "test" else (10 + number, 20)  # in one another's place: the same pair
        picture(folder / split / "t0" / f"{number}.png", first)
        picture(folder / split / "t1" / f"{number}.png", second)
        mask_file = folder / split / "mask" / f"{number}.png"
        mask_file.parent.mkdir(parents=True)
        Image.fromarray(np.full((8, 8), 255, np.uint8)).save(mask_file)


def levir(folder: Path, leak: bool) -> None:
    (folder / "list").mkdir()
    for number, split in enumerate(("train", "val", "test")):
        for role, value in (("A", number), ("B", 9)):
            picture(folder / role / f"{number}.png", value)
        (folder / "label").mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), 255, np.uint8)).save(folder / "label" / f"{number}.png")
        (folder / "list" / f"{split}.txt").write_text(f"{0 if leak else number}.png\n")


def kitti(folder: Path, leak: bool) -> None:
    for number in range(LEAST + 1):
        for part, content in (("velodyne", np.full((2, 4), 0 if leak and number == LEAST else number, "<f4").tobytes()), ("label_2", b""),
                              ("calib", b"P2: 1 0 0 0 0 1 0 0 0 0 1 0\nR0_rect: 1 0 0 0 1 0 0 0 1\nTr_velo_to_cam: 1 0 0 0 0 1 0 0 0 0 1 0\n")):
            file = folder / "training" / part / f"{number:06d}.{'bin' if part == 'velodyne' else 'txt'}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        picture(folder / "training" / "image_2" / f"{number:06d}.png", 0)
    (folder / "ImageSets").mkdir()
    (folder / "ImageSets" / "train.txt").write_text("\n".join(f"{number:06d}" for number in range(LEAST)))
    (folder / "ImageSets" / "val.txt").write_text(f"{LEAST:06d}")


READERS = {
    "kitti": (Kitti(), kitti, 1),
    "cifar10": (Cifar10(), cifar10, 4), "cifar10n": (Cifar10N(), cifar10n, 4), "sessions": (Cifar100Sessions(), cifar100, 500),
    "har": (AstarHar(), har, 6), "imagenet": (ImageNet(32), imagenet, 2), "coco": (Coco(), coco, 1),
    "captions": (captions.CocoCaptions(), captioned, captions.ENOUGH),
    "street": (ChangeData("street"), street, 1), "levir": (ChangeData("levir"), levir, 1),
}


@pytest.mark.parametrize("name", READERS)
def test_test_data_in_training_data_is_refused_in_every_reader(name: str, tmp_path: Path) -> None:
    reader, write, count = READERS[name]
    for leak in (False, True):
        folder = tmp_path / str(leak) / "cifar-10-batches-py" if name.startswith("cifar10") else tmp_path / str(leak)
        folder.mkdir(parents=True)
        write(folder, leak)
    apart, leaking = (tmp_path / str(leak) / ("cifar-10-batches-py" if name.startswith("cifar10") else "") for leak in (False, True))
    assert reader.check(apart) == []
    assert source.locate_data(reader, apart, tmp_path / "cache").folder == apart
    problems = _again(reader).check(leaking)
    assert problems[0].startswith(f"{count} of the {count} {reader.items} of 'test' are also in 'train' (")
    assert len(problems) == (3 if name == "levir" else 1)  # validation pairs as well
    with pytest.raises(UserError, match=f"{count} of the {count} .* are also in 'train'.*take them out"):
        source.locate_data(_again(reader), leaking, tmp_path / "cache")


def _again(reader: Dataset) -> Dataset:
    return Coco() if isinstance(reader, Coco) else reader  # it keeps what it has parsed


def stored(*values: int) -> Stored:
    pixels = torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 4, 4)
    pixels[:, :, 0, 0] += 1
    return Stored(pixels, torch.zeros(len(values), dtype=torch.long))


def test_each_row_of_the_later_part_once_with_the_first_that_it_is() -> None:
    assert shared(stored(5, 7, 5, 9), stored(1, 5, 9, 5)) == [Shared(0, 1), Shared(2, 1), Shared(3, 2)]
    assert shared(stored(5), stored(1)) == []


class Large(Dataset):
    """Values in memory: `repeated` of the 2,000 test samples are training samples too."""

    name, title, version, layout, where_to_get = "large", "large", 1, "nothing", "nothing"

    def __init__(self, repeated: int) -> None:
        self.repeated = repeated

    def read(self, folder: Path, split: str) -> Stored:
        values = torch.arange(2000, dtype=torch.int32) + (2000 - self.repeated) * (split == "test")
        return Stored(torch.stack([values, values + 1], 1).view(-1, 1, 1, 2), torch.zeros(2000, dtype=torch.long))


def test_one_repeated_item_in_a_thousand_is_let_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR's own releases have a few, and a thousandth moves no score by more than 0.1 points."""
    assert Large(0).overlaps(tmp_path) == Large(2).overlaps(tmp_path) == []
    (sentence,) = Large(3).overlaps(tmp_path)
    assert sentence.startswith("3 of the 2000 images of 'test' are also in 'train' ('row 0' is 'row 1997')")
    monkeypatch.setattr(Large, "official_counts", ({"train": 2000, "test": 2000},))
    assert Large(3).overlaps(tmp_path)  # by counts alone it may be anything
    monkeypatch.setattr(dataset, "MANY", -1)
    assert Large(3).overlaps(tmp_path) == []  # official, and too large to read


@pytest.mark.parametrize("name", ["har", "cifar10", "imagenet", "street"])
def test_items_that_tell_nothing_may_be_in_both_parts(name: str, tmp_path: Path) -> None:
    reader, write, _ = READERS[name]
    folder = tmp_path / "cifar-10-batches-py" if name == "cifar10" else tmp_path
    folder.mkdir(exist_ok=True)
    write(folder, False)
    if name == "har":  # sensors that were off, and one that was not moved
        arrays = dict(np.load(folder / FILE))
        for split in ("train", "test"):
            arrays[f"{split}_x"][:2] = 0
            arrays[f"{split}_x"][3] = np.arange(9, dtype=np.float32)[:, None]
        np.savez(folder / FILE, **arrays)
    elif name == "cifar10":  # one colour, of three channels
        colour = np.repeat(np.array([7, 8, 9], np.uint8), 1024)
        for batch in ("data_batch_1", "test_batch"):
            (folder / batch).write_bytes(pickled({"data": np.stack([colour] * 4), "labels": [0, 1, 2, 3]}))
    elif name == "imagenet":
        for path in sorted(folder.glob("*/n00000000/*.png")):
            picture(path, 3, mark=0)
    else:
        for path in sorted(folder.glob("t*/t[01]/*.png")):
            picture(path, 3, mark=0)
    assert reader.overlaps(folder) == []
    if name == "street":  # one picture of a pair tells something: the pair may not be in both parts
        for path in sorted(folder.glob("t*/t0/*.png")):
            picture(path, 4)
        assert len(reader.overlaps(folder)) == 1


def test_only_files_of_equal_sizes_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imagenet(tmp_path, leak=False)
    longer = tmp_path / "val" / "n00000001" / "other_name.png"
    longer.write_bytes(longer.read_bytes() + b"\0")
    read: list[str] = []
    monkeypatch.setattr("suite.data.pictures.sum_of", lambda path: read.append(path.name) or str(path))
    assert ImageNet(32).overlaps(tmp_path) == []
    assert sorted(read) == ["a.png", "a.png", "other_name.png"]


def test_data_are_compared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    har(tmp_path / "data", leak=False)
    times: list[Path] = []
    monkeypatch.setattr(AstarHar, "overlaps", lambda self, folder: times.append(folder) or [])
    for _ in range(2):
        source.locate_data(AstarHar(), tmp_path / "data", tmp_path / "cache")
    assert len(times) == 1
    har(tmp_path / "data", leak=True)  # other bytes: another digest
    source.locate_data(AstarHar(), tmp_path / "data", tmp_path / "cache")
    assert len(times) == 2
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("no folder")  # a cache that cannot be written costs time alone
    source.locate_data(AstarHar(), tmp_path / "data", tmp_path / "cache")
    assert len(times) == 3


def test_files_of_other_names_and_dates_are_the_same_pictures(tmp_path: Path) -> None:
    imagenet(tmp_path, leak=True)
    os.utime(tmp_path / "val" / "n00000001" / "other_name.png", (1, 1))
    (sentence,) = ImageNet(32).overlaps(tmp_path)
    assert "'val/n00000000/other_name.png' is 'train/n00000000/a.png'" in sentence
