"""The ImageFolder reader: crops, order, and what it refuses."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from suite.data import source
from suite.data.folders import random_box
from suite.data.imagenet import ImageNet
from suite.data.pictures import decoded
from suite.errors import UserError

DATASET = ImageNet(32)


def test_reads_by_class_and_name(folders: Path) -> None:
    images = DATASET.read(folders, "train")
    assert images.labels.tolist() == [0, 0, 1, 1, 2, 2]
    batch = images.batch(torch.tensor([4, 0]), False, torch.Generator())
    assert batch.shape == (2, 3, 32, 32) and batch.dtype == torch.uint8
    assert batch[:, 0, 16, 16].tolist() == pytest.approx([160, 0], abs=4)
    part = images.subset(torch.tensor([5, 2]))
    assert part.labels.tolist() == [2, 1]
    again = part.batch(torch.tensor([0, 1]), False, torch.Generator())
    assert torch.equal(again, images.batch(torch.tensor([5, 2]), False, torch.Generator()))


def test_the_centre_crop_is_the_centre(folders: Path) -> None:
    picture = Image.new("RGB", (90, 60))  # 48 x 32 pixels after scaling: an even number is cut off on each side
    picture.paste((255, 255, 255), (35, 20, 55, 40))  # a white square in the middle
    path = folders / "val" / "n01440000" / "30.png"
    picture.save(path)
    images = ImageNet(28).read(folders, "test")
    row = [file.name for file in images.files].index("30.png")
    pixels = images.batch(torch.tensor([row]), False, torch.Generator())[0, 0].float() / 255
    edge = (28 * 256 / 224) * 20 / 60  # the square's side after scaling
    assert pixels.sum() == pytest.approx(edge**2, rel=0.05)
    for axis in (0, 1):  # within one level of a resize that rounds
        assert (pixels - pixels.flip(axis)).abs().max() <= 2 / 255


def test_random_crops_follow_the_generator(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = source.embedded_folder(DATASET, cache)
    images = DATASET.read(folder, "train")
    index = torch.arange(12)
    first, second, third = (images.batch(index, True, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    kept = images.batch(index, False, torch.Generator())
    assert len(images.cache.kept) == 12
    monkeypatch.setattr("suite.data.folders.MEMORY", 0)
    monkeypatch.setattr("suite.data.pictures.MEMORY", 0)
    images = DATASET.read(folder, "train")
    fresh = images.batch(index, False, torch.Generator())
    assert not images.cache.kept
    assert (kept.float() - fresh.float()).abs().mean() < 8  # what is kept was scaled once more


@given(width=st.integers(1, 400), height=st.integers(1, 400), seed=st.integers(0, 2**62))
def test_boxes_lie_inside(width: int, height: int, seed: int) -> None:
    left, top, right, bottom = random_box(width, height, random.Random(seed))
    assert 0 <= left < right <= width and 0 <= top < bottom <= height


def flatten(folder: Path) -> None:
    for path in folder.glob("val/*/*.JPEG"):
        path.rename(folder / "val" / f"{path.parent.name}_{path.name}")
    for place in folder.glob("val/n*/"):
        place.rmdir()


def empty(folder: Path) -> None:
    for path in (folder / "train" / "n01440001").iterdir():
        path.unlink()


BREAKS: dict[str, Callable[[Path], None]] = {
    "The folder 'images/val' is missing": lambda folder: shutil.rmtree(folder / "val"),
    "The folder 'images/train' is missing": lambda folder: shutil.rmtree(folder / "train"),
    "'images/val' holds 6 images but no class folders; sort its images into val/<synset>/": flatten,
    "The class folder 'images/train/n01440001' holds no image": empty,
    "3 classes in train and 2 in val that are not the same: 'n01440002' is in train but not in val": lambda folder: shutil.rmtree(
        folder / "val" / "n01440002"
    ),
}


@pytest.mark.parametrize("sentence", BREAKS)
def test_a_broken_layout_gives_one_sentence(folders: Path, sentence: str) -> None:
    BREAKS[sentence](folders)
    assert DATASET.matches(folders)
    (found,) = DATASET.check(folders)
    assert sentence in found and "\n" not in found
    with pytest.raises(UserError) as caught:
        for split in ("train", "test"):
            DATASET.read(source.locate_data(DATASET, folders, folders / "cache").folder, split)
    assert str(caught.value) == found
    assert not (folders / "cache").exists()


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_a_corrupt_image_is_named(folders: Path, content: bytes | None) -> None:
    path = folders / "val" / "n01440001" / "50.JPEG"
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    (found,) = DATASET.check(folders)
    assert "'val/n01440001/50.JPEG' is not a readable image" in found
    with pytest.raises(UserError, match=r"val/n01440001/50\.JPEG"):
        DATASET.read(folders, "test").batch(torch.arange(6), False, torch.Generator())


def test_other_formats_and_colours(folders: Path) -> None:
    place = folders / "train" / "n01440000"
    Image.new("L", (40, 40), 200).save(place / "grey.png")
    Image.new("CMYK", (40, 40)).save(place / "print.JPG")
    (place / "notes.txt").write_text("not an image")
    images = DATASET.read(folders, "train")
    assert len(images) == 8
    assert images.batch(torch.arange(8), False, torch.Generator()).shape == (8, 3, 32, 32)
    assert DATASET.check(folders) == []


def test_16_bits_are_scaled_and_other_ranges_refused(folders: Path) -> None:
    path = folders / "train" / "n01440000" / "deep.png"
    values = np.array([[0, 128, 129, 4095], [256, 32768, 65407, 65535]], np.uint16)
    Image.fromarray(values).save(path)
    assert np.array(decoded(path, "L")).tolist() == [[0, 0, 1, 16], [1, 128, 255, 255]]  # value / 65535 * 255
    assert np.array(decoded(path)).shape == (2, 4, 3)
    assert DATASET.check(folders) == []
    Image.fromarray(values.astype(np.float32)).save(path.with_suffix(".tif"))
    Image.fromarray(values.astype(np.int32)).save(path.with_name("long.tif"))
    Image.fromarray(np.minimum(values, 200)).save(path)
    sentences = DATASET.check(folders)
    assert [re.findall("holds floating-point|holds 32-bit|no value above 200 of 65535", sentence) for sentence in sentences] == [
        ["no value above 200 of 65535"], ["holds floating-point"], ["holds 32-bit"]]


def test_counts_make_it_official(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert DATASET.classify(folders) == "subset"
    monkeypatch.setattr(ImageNet, "official_counts", ({"train": 6, "test": 6},))
    assert DATASET.classify(folders) == "official"


def test_large_sets_are_digested_by_names_and_sizes(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_content = DATASET.digest(folders)
    monkeypatch.setattr("suite.data.dataset.MANY", 5)
    by_size = DATASET.digest(folders)
    path = folders / "val" / "n01440001" / "50.JPEG"
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + b"\0")
    assert DATASET.digest(folders) == by_size != by_content
    path.write_bytes(raw + b"\0")
    assert DATASET.digest(folders) != by_size
