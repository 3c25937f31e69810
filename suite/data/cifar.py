"""CIFAR-10 and CIFAR-100 in the layout of their official python archives.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, and the description on the data
sets' page: every file is a pickled dictionary whose ``data`` is uint8 (N, 3072), a row being the red, green and blue
planes of a 32 x 32 image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from suite.data import procedural, unpickle
from suite.data.source import Dataset, Kind, Split, digest_of, spread
from suite.errors import UserError

if TYPE_CHECKING:
    from suite.data.images import StoredImages

VALUES = 3 * 32 * 32  # of one image


class _Batch(NamedTuple):
    pixels: np.ndarray  # uint8 (N, 3072)
    labels: np.ndarray  # int64 (N,)


class _Cifar(Dataset):
    """All that the two archives share; the class attributes say where they differ."""

    version = procedural.VERSION
    official_counts: ClassVar[Mapping[str, int]] = {"train": 50_000, "test": 10_000}
    archive_folder: ClassVar[str]
    files: ClassVar[Mapping[Split, tuple[str, ...]]]
    meta: ClassVar[str]  # the file with the classes' names
    md5: ClassVar[Mapping[str, str]]  # of the official files, all of them
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
        for split, files in self.files.items():
            images, labels = procedural.tiny_images(self.classes, split)
            for name, rows in zip(files, np.array_split(np.arange(len(labels)), len(files)), strict=True):
                content: dict[str, Any] = {"batch_label": f"embedded data, version {self.version}, {name}"}
                for key, groups in self.labels.items():
                    content[key] = procedural.grouped(labels[rows], self.classes, groups).tolist()
                content["data"] = images[rows].reshape(-1, VALUES)
                content["filenames"] = [f"embedded_{split}_{row:05d}.png" for row in rows.tolist()]
                (inner / name).write_bytes(unpickle.dump(content))
        meta = {self.names[key]: procedural.class_names(count) for key, count in self.labels.items()}
        (inner / self.meta).write_bytes(unpickle.dump(meta))

    def check(self, folder: Path) -> list[str]:
        """The problems of each file; where there are none and the counts are the official ones, wrong digests."""
        problems = []
        for name in self.md5:
            try:
                self._class_names(folder) if name == self.meta else self._batch(folder, name)
            except UserError as error:
                problems.append(str(error))
        if problems or self.counts(folder) != self.official_counts:
            return problems
        return [
            f"'{folder.name}/{name}' is complete but its MD5 sum is not the official {self.md5[name]}; {self._again}"
            for name in self._unofficial(folder)
        ]

    def describe(self, folder: Path) -> dict[str, str]:
        """A line for each split, and the classes' names."""
        lines: dict[str, str] = {}
        for split in self.files:
            labels = self._split(folder, split).labels
            lines[split] = f"{len(labels)} images of 3 x 32 x 32, {spread(labels, self.classes)}"
        names = self._class_names(folder)
        lines["classes"] = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        return lines

    def classify(self, folder: Path) -> Kind:
        """Embedded by the classes' names, official by all MD5 sums, a subset otherwise."""
        if self._class_names(folder) == procedural.class_names(self.classes):
            return "embedded"
        official = self.counts(folder) == self.official_counts and not self._unofficial(folder)
        return "official" if official else "subset"

    def counts(self, folder: Path) -> dict[str, int]:
        return {split: len(self._split(folder, split).labels) for split in self.files}

    def digest(self, folder: Path) -> str:
        return digest_of({name: folder / name for name in self.md5})

    def read(self, folder: Path, split: Split) -> StoredImages:
        """The images of a split with their labels (CIFAR-100: the fine ones), in the files' order."""
        import torch

        from suite.data.images import StoredImages

        pixels, labels = self._split(folder, split)
        return StoredImages(torch.from_numpy(pixels.reshape(-1, 3, 32, 32)), torch.from_numpy(labels))

    def _split(self, folder: Path, split: Split) -> _Batch:
        pixels, labels = zip(*(self._batch(folder, name) for name in self.files[split]), strict=True)
        return _Batch(np.concatenate(pixels), np.concatenate(labels))

    def _batch(self, folder: Path, name: str) -> _Batch:
        """One file; UserError for missing keys, a wrong shape or type, unequal lengths, labels out of range."""
        shown, content = f"{folder.name}/{name}", self._load(folder, name)
        if missing := sorted({"data", *self.labels} - content.keys()):
            raise UserError(f"'{shown}' lacks {' and '.join(map(repr, missing))}; {self._again}")
        pixels = content["data"]
        if not (isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.shape[1:] == (VALUES,)):
            found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
            raise UserError(f"'data' in '{shown}' is {found}, expected uint8 (N, {VALUES}); {self._again}")
        if not len(pixels):
            raise UserError(f"'{shown}' holds no images; {self._again}")
        columns = [self._labels(content, key, len(pixels), shown) for key in self.labels]
        return _Batch(pixels, columns[0])

    def _labels(self, content: Mapping[str, Any], key: str, images: int, shown: str) -> np.ndarray:
        what, classes = f"'{key}' in '{shown}'", self.labels[key]
        try:
            labels = np.asarray(content[key])
        except ValueError:  # lists of different lengths
            labels = np.asarray([""])
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise UserError(f"{what} is not a list of integers; {self._again}")
        if len(labels) != images:
            raise UserError(f"{what} has {len(labels)} entries for {images} images; {self._again}")
        if (wrong := (labels < 0) | (labels >= classes)).any():
            row = int(wrong.argmax())
            raise UserError(f"{what} is {labels[row]} in row {row}, expected 0 to {classes - 1}; {self._again}")
        return labels.astype(np.int64)

    def _class_names(self, folder: Path) -> list[str]:
        content = self._load(folder, self.meta)
        found = [content.get(key) for key in self.names.values()]
        for key, names, count in zip(self.names.values(), found, self.labels.values(), strict=True):
            if not isinstance(names, list) or len(names) != count:
                what = f"{len(names)} entries" if isinstance(names, list) else "no list"
                shown = f"{folder.name}/{self.meta}"
                raise UserError(f"'{key}' in '{shown}' has {what}, expected {count} names; {self._again}")
        return [str(name) for name in found[0] or []]

    def _load(self, folder: Path, name: str) -> dict[str, Any]:
        shown = f"{folder.name}/{name}"
        if not (folder / name).is_file():
            raise UserError(f"'{shown}' is missing; {self._again}")
        content = unpickle.load(folder / name, shown)
        if not isinstance(content, dict):
            raise UserError(f"'{shown}' holds a '{type(content).__name__}', expected a dictionary; {self._again}")
        return content

    def _unofficial(self, folder: Path) -> list[str]:
        return [name for name, md5 in self.md5.items() if _md5(folder / name) != md5]

    @property
    def _again(self) -> str:
        return f"unpack {self.where_to_get} again."


class Cifar10(_Cifar):
    name = "cifar10"
    title = "CIFAR-10"
    archive_folder = "cifar-10-batches-py"
    layout = "the folder cifar-10-batches-py with data_batch_1 to data_batch_5, test_batch and batches.meta"
    where_to_get = (
        "the official archive cifar-10-python.tar.gz from the CIFAR page of the University of Toronto "
        "(www.cs.toronto.edu/~kriz/cifar.html)"
    )
    files = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
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
    names = {"labels": "label_names"}


class Cifar100(_Cifar):
    name = "cifar100"
    title = "CIFAR-100"
    archive_folder = "cifar-100-python"
    layout = "the folder cifar-100-python with train, test and meta"
    where_to_get = (
        "the official archive cifar-100-python.tar.gz from the CIFAR page of the University of Toronto "
        "(www.cs.toronto.edu/~kriz/cifar.html)"
    )
    files = {"train": ("train",), "test": ("test",)}
    meta = "meta"
    md5 = {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    }
    labels = {"fine_labels": 100, "coarse_labels": 20}
    names = {"fine_labels": "fine_label_names", "coarse_labels": "coarse_label_names"}


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
