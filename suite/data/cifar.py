"""CIFAR-10 and CIFAR-100 in the layout of their official python archives.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, and the description on the data
sets' page: every file is a pickled dictionary whose ``data`` is uint8 (N, 3072), a row being the red, green and blue
planes of a 32 x 32 image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from suite.data.dataset import Dataset
from suite.data.embedded import procedural
from suite.data.embedded.writing import pickled
from suite.data.pickles import load_pickle
from suite.data.pictures import Stored

VALUES = 3 * 32 * 32  # of one image
PAGE = "the CIFAR page of the University of Toronto (www.cs.toronto.edu/~kriz/cifar.html)"


class _Batch(NamedTuple):
    pixels: np.ndarray  # uint8 (N, 3072)
    labels: np.ndarray  # int64 (N,)


class _Cifar(Dataset):
    """All that the two archives share; the class attributes say where they differ."""

    version = procedural.VERSION
    items = "images of 3 x 32 x 32"
    official_counts = ({"train": 50_000, "test": 10_000},)
    archive_folder: ClassVar[str]
    batches: ClassVar[Mapping[str, tuple[str, ...]]]  # files by split
    meta: ClassVar[str]  # the file with the classes' names
    labels: ClassVar[Mapping[str, int]]  # key in a batch: number of classes; `read` gives the first
    names: ClassVar[Mapping[str, str]]  # key in a batch: key in the meta file

    @property
    def classes(self) -> int:
        """The number of classes that `read` tells apart."""
        return next(iter(self.labels.values()))

    def matches(self, folder: Path) -> bool:
        """By the archive's folder name, or by two of its files, so that an incomplete copy is recognised as well."""
        return folder.name == self.archive_folder or sum((folder / name).is_file() for name in self.md5) >= 2

    def make(self, folder: Path) -> None:
        """Write the embedded data to the archive's folder in `folder`."""
        inner = folder / self.archive_folder
        inner.mkdir()
        for split, files in self.batches.items():
            images, labels = procedural.tiny_images(self.classes, split)
            for name, rows in zip(files, np.array_split(np.arange(len(labels)), len(files)), strict=True):
                content: dict[str, Any] = {"batch_label": f"embedded data, version {self.version}, {name}"}
                for key, groups in self.labels.items():
                    content[key] = procedural.grouped(labels[rows], self.classes, groups).tolist()
                content["data"] = images[rows].reshape(-1, VALUES)
                content["filenames"] = [f"embedded_{split}_{row:05d}.png" for row in rows.tolist()]
                (inner / name).write_bytes(pickled(content))
        meta = {self.names[key]: procedural.class_names(count) for key, count in self.labels.items()}
        (inner / self.meta).write_bytes(pickled(meta))

    def parts(self, folder: Path) -> Iterable[Callable[[], object]]:
        """Every file by itself."""
        batches = [partial(self._batch, folder, name) for names in self.batches.values() for name in names]
        return [*batches, partial(self.class_names, folder)]

    def files(self, folder: Path) -> dict[str, Path]:
        return {name: folder / name for name in self.md5}

    def read(self, folder: Path, split: str) -> Stored:
        """The images of a split with their labels (CIFAR-100: the fine ones), in the files' order."""
        import torch

        pixels, labels = map(np.concatenate, zip(*(self._batch(folder, name) for name in self.batches[split]), strict=True))
        return Stored(torch.from_numpy(pixels.reshape(-1, 3, 32, 32)), torch.from_numpy(labels))

    def _batch(self, folder: Path, name: str) -> _Batch:
        """One file; UserError for missing keys, a wrong shape or type, unequal lengths, labels out of range."""
        shown = f"{folder.name}/{name}"
        content = load_pickle(folder / name, shown, ["data", *self.labels])
        pixels = content["data"]
        if not (isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.shape[1:] == (VALUES,)):
            found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
            raise self.damaged(f"'data' in '{shown}' is {found}, expected uint8 (N, {VALUES})")
        if not len(pixels):
            raise self.damaged(f"'{shown}' holds no images")
        columns = [self.whole_numbers(content[key], f"'{key}' in '{shown}'", len(pixels), classes)
                   for key, classes in self.labels.items()]
        return _Batch(pixels, columns[0])

    def class_names(self, folder: Path) -> list[str]:
        content = load_pickle(folder / self.meta, f"{folder.name}/{self.meta}", self.names.values())
        found = [content[key] for key in self.names.values()]
        for key, names, count in zip(self.names.values(), found, self.labels.values(), strict=True):
            if not isinstance(names, list) or len(names) != count:
                what = f"{len(names)} entries" if isinstance(names, list) else "no list"
                raise self.damaged(f"'{key}' in '{folder.name}/{self.meta}' has {what}, expected {count} names")
        return [str(name) for name in found[0]]


class Cifar10(_Cifar):
    name = "cifar10"
    title = "CIFAR-10"
    archive_folder = "cifar-10-batches-py"
    layout = "the folder cifar-10-batches-py with data_batch_1 to data_batch_5, test_batch and batches.meta"
    where_to_get = f"the official archive cifar-10-python.tar.gz from {PAGE}"
    batches = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
    meta = "batches.meta"
    md5 = {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    }
    labels = {"labels": 10}
    embedded_classes = procedural.class_names(10)
    names = {"labels": "label_names"}


class Cifar100(_Cifar):
    name = "cifar100"
    title = "CIFAR-100"
    archive_folder = "cifar-100-python"
    layout = "the folder cifar-100-python with train, test and meta"
    where_to_get = f"the official archive cifar-100-python.tar.gz from {PAGE}"
    batches = {"train": ("train",), "test": ("test",)}
    meta = "meta"
    md5 = {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    }
    labels = {"fine_labels": 100, "coarse_labels": 20}
    embedded_classes = procedural.class_names(100)
    names = {"fine_labels": "fine_label_names", "coarse_labels": "coarse_label_names"}
