"""Data sets for the readers' tests: the embedded ones, made once, and tiny ones to break."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from suite.data import source
from suite.data.cifar import Cifar10, Cifar100
from suite.data.embedded.writing import pickled
from suite.data.imagenet import ImageNet
from suite.data.source import Source


@pytest.fixture(autouse=True)
def no_standing_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUITE_DATA", raising=False)


@pytest.fixture(scope="session")
def cache(workspace: Path) -> Path:
    return workspace / "cache"


@pytest.fixture(scope="session", params=(Cifar10(), Cifar100(), ImageNet(32)), ids=lambda dataset: dataset.name)
def embedded(request: pytest.FixtureRequest, cache: Path) -> Source:
    """The embedded data of each data set for classification."""
    return source.source_of(request.param, source.embedded_folder(request.param, cache))


def batch(classes: int, images: int = 20, first: int = 0) -> dict:
    """The content of a valid CIFAR batch; another `first` value makes other pictures."""
    labels = [row % classes for row in range(images)]
    pixels = (first + np.arange(images * 3072).reshape(images, 3072)) % 251
    keys = {"labels": labels} if classes == 10 else {"fine_labels": labels, "coarse_labels": [x // 5 for x in labels]}
    return {"data": pixels.astype(np.uint8), **keys}


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    """A tiny valid CIFAR-10 folder."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        (folder / name).write_bytes(pickled(batch(10, first=int(name == "test_batch"))))
    (folder / "batches.meta").write_bytes(pickled({"label_names": list("abcdefghij")}))
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A tiny valid ImageFolder: three classes with two images of each, of two sizes."""
    for split, shade in (("train", 50), ("val", 60)):
        for number in range(3):
            place = tmp_path / "images" / split / f"n0144000{number}"
            place.mkdir(parents=True)
            for size in ((40, 30), (50, 64)):
                Image.new("RGB", size, (80 * number, 100, shade)).save(place / f"{size[0]}.JPEG")
    return tmp_path / "images"
