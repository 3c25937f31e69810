"""The embedded data: the same everywhere, without leaks, and of the right difficulty."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from suite.data.cifar import Cifar10, Cifar100
from suite.data.dataset import Dataset
from suite.data.embedded import drawing, procedural
from suite.data.imagenet import ImageNet
from suite.data.source import Source

# Of version 1. Another digest means other data: raise procedural.VERSION with it.
DIGESTS = {
    "cifar10": "837058c8c496b24bbe96f06cbdfd85059ed3d920a42b7b35b7d848e651192272",
    "cifar100": "408f0cc14cb5c0186a63d9148f0229a5ba3ba8b042100dc1f5fe057f922d8990",
}
DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (Cifar10(), Cifar100(), ImageNet(32))}
PHOTOGRAPHS = "a43a8177ee1ff0c57e57783a01ab671ca9f1fa396f45af4d4a1ced13638db312"


def pixels(embedded: Source, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, S, S) and labels (N,); ImageNet's centre crops at 32 pixels."""
    images = DATASETS[embedded.name].read(embedded.folder, split)
    batch = images.batch(torch.arange(len(images)), False, torch.Generator())
    return batch.numpy(), images.labels.numpy()


def test_is_complete(embedded: Source) -> None:
    dataset = DATASETS[embedded.name]
    assert embedded.kind == "embedded" and embedded.note == ""
    assert dataset.check(embedded.folder) == []
    assert set(dataset.describe(embedded.folder)) == {"train", "test", "classes"}
    for split, count in embedded.counts.items():
        images = dataset.read(embedded.folder, split)
        assert len(images) == count
        assert len(set(np.bincount(images.labels.numpy()))) == 1, "classes are not balanced"


def test_bytes_never_change_without_a_new_version(embedded: Source) -> None:
    assert procedural.VERSION == 1
    if embedded.name == "imagenet":  # the files' bytes depend on the JPEG encoder, the pixels do not
        total = hashlib.sha256()
        for image, label in procedural.photographs("test"):
            total.update(f"{image.shape} {label}".encode() + image.tobytes())
        assert total.hexdigest() == PHOTOGRAPHS
    else:
        assert embedded.digest == DIGESTS[embedded.name]


def test_no_image_is_there_twice(embedded: Source) -> None:
    seen = [image.tobytes() for split in ("train", "test") for image in pixels(embedded, split)[0]]
    assert len(set(seen)) == len(seen) == sum(embedded.counts.values())


def test_a_linear_classifier_stays_under_half(embedded: Source) -> None:
    from sklearn.linear_model import RidgeClassifier

    (train, train_labels), (test, test_labels) = pixels(embedded, "train"), pixels(embedded, "test")

    def rows(images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1).astype(np.float32) / 255

    score = RidgeClassifier(alpha=1000).fit(rows(train), train_labels).score(rows(test), test_labels)
    classes = train_labels.max() + 1
    assert score < 0.5
    assert score > 1 / classes, "not even a linear trace: training would start too slowly"


def test_colours_say_nothing(embedded: Source) -> None:
    from sklearn.linear_model import LogisticRegression

    (train, train_labels), (test, test_labels) = pixels(embedded, "train"), pixels(embedded, "test")
    score = LogisticRegression().fit(train.mean((2, 3)) / 255, train_labels).score(test.mean((2, 3)) / 255, test_labels)
    assert score < 1.6 / (train_labels.max() + 1) + 0.01


def test_the_random_numbers_are_even() -> None:
    draw = drawing.Draw(3)
    uniform, noise = draw.uniform(-1, 3, 100_000), draw.noise(100_001)
    assert uniform.min() >= -1 and uniform.max() < 3
    assert abs(uniform.mean() - 1) < 0.02 and abs(uniform.var() - 16 / 12) < 0.02
    assert noise.shape == (100_001,) and noise.dtype == np.float32
    assert abs(noise.mean()) < 0.02 and abs(noise.var() - 1) < 0.02
    assert sorted(draw.permutation(50)) == list(range(50))
    assert np.bincount(draw.integers(7, 70_000)).min() > 9_500


def test_classes_have_names() -> None:
    for classes in (10, 20, 100):
        assert len(set(procedural.class_names(classes))) == classes
    coarse = procedural.grouped(np.arange(100), 100, 20)
    assert np.bincount(coarse).tolist() == [5] * 20
    objects = [name.split(" on ")[0] for name in procedural.class_names(100)]
    assert all(len({objects[label] for label in np.flatnonzero(coarse == group)}) == 1 for group in range(20))


def test_photographs_differ_in_size() -> None:
    sizes = {image.shape[:2] for image, _ in procedural.photographs("test")}
    assert len(sizes) > 5 and any(high > wide for high, wide in sizes) and any(high < wide for high, wide in sizes)
    assert min(map(min, sizes)) >= 64


def test_splits_and_classes_do_not_share_random_numbers() -> None:
    first, second = (drawing.Draw(1, 10, split).uniform(0, 1, 100) for split in (0, 1))
    assert not np.intersect1d(first, second).size
