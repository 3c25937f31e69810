"""ImageNet-1k in the folders of ILSVRC, and any other images in the same layout (ImageFolder).

Source: Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015. Training and validation
images lie in ``train/<synset>/`` and ``val/<synset>/``; labels number the sorted synsets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from suite.data import procedural
from suite.data.source import Dataset, Kind, Split, digest_of, spread
from suite.errors import UserError

if TYPE_CHECKING:
    from suite.data.folders import FolderImages

SYNSET = re.compile(r"n\d{8}")
ENDINGS = (".jpeg", ".jpg", ".png")
MANY = 20_000  # more images are digested by names and sizes, and checked by one image of each class
FOLDERS: Mapping[Split, str] = {"train": "train", "test": "val"}  # the official test set has no labels


class _Files(NamedTuple):
    classes: list[str]
    paths: list[Path]
    labels: list[int]


class ImageNet(Dataset):
    name = "imagenet"
    title = "ImageNet-1k (ILSVRC 2012)"
    version = procedural.VERSION
    layout = "a folder with train/<synset>/ and val/<synset>/"
    where_to_get = (
        "the official archives ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from image-net.org, "
        "sorted into train/<synset>/ and val/<synset>/"
    )
    official_counts: ClassVar[Mapping[str, int]] = {"train": 1_281_167, "test": 50_000}

    def __init__(self, size: int = 224) -> None:
        """`size` is the height and width of what `read` gives, in pixels."""
        self.size = size

    def matches(self, folder: Path) -> bool:
        """By a synset's folder in train or val, or by class folders in train beside a folder val."""
        train, val = folder / "train", folder / "val"
        synsets = any(SYNSET.fullmatch(name) for split in (train, val) for name in _folders(split))
        return synsets or (val.is_dir() and bool(_folders(train)))

    def make(self, folder: Path) -> None:
        """Write the embedded data as JPEG files of different sizes to ``folder/train`` and ``folder/val``.

        The pixels are the same everywhere; the files' bytes are those of the installed JPEG encoder.
        """
        from PIL import Image

        for split, name in FOLDERS.items():
            for synset in procedural.SYNSETS:
                (folder / name / synset).mkdir(parents=True)
            for number, (pixels, label) in enumerate(procedural.photographs(split)):
                path = folder / name / procedural.SYNSETS[label] / f"{name}_{number:05d}.JPEG"
                Image.fromarray(pixels).save(path, quality=92)

    def check(self, folder: Path) -> list[str]:
        """Missing or unsorted folders, empty classes, unreadable images (beyond `MANY` one image of each class)."""
        from suite.data.folders import decoded

        def problem(path: Path) -> str:
            try:
                decoded(path)
            except UserError as error:
                return str(error)
            return ""

        problems: list[str] = []
        paths: list[Path] = []
        for split in FOLDERS:
            try:
                files = self._files(folder, split)
            except UserError as error:
                problems.append(str(error))
            else:
                firsts = np.unique(files.labels, return_index=True)[1]
                paths += files.paths if len(files.paths) <= MANY else [files.paths[row] for row in firsts]
        if not problems:
            problems += self._differences(folder)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            return problems + [sentence for sentence in threads.map(problem, paths) if sentence]

    def describe(self, folder: Path) -> dict[str, str]:
        """A line for each split, and the first classes."""
        lines: dict[str, str] = {}
        for split in FOLDERS:
            files = self._files(folder, split)
            each = spread(np.asarray(files.labels), len(files.classes))
            lines[split] = f"{len(files.paths)} images of different sizes, {each}"
        names = files.classes
        lines["classes"] = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        return lines

    def classify(self, folder: Path) -> Kind:
        """Embedded by the classes' names, official by the numbers of images, a subset otherwise."""
        if tuple(_folders(folder / "train")) == procedural.SYNSETS:
            return "embedded"
        return "official" if self.counts(folder) == self.official_counts else "subset"

    def counts(self, folder: Path) -> dict[str, int]:
        return {split: len(self._files(folder, split).paths) for split in FOLDERS}

    def digest(self, folder: Path) -> str:
        """Over the files' contents; over names and sizes where there are more than `MANY`."""
        paths = [path for split in FOLDERS for path in self._files(folder, split).paths]
        return digest_of({path.relative_to(folder).as_posix(): path for path in paths}, contents=len(paths) <= MANY)

    def read(self, folder: Path, split: Split) -> FolderImages:
        """The images of a split, by class and name; ``"test"`` is the official validation set."""
        import torch

        from suite.data.folders import folder_images

        if differences := self._differences(folder):
            raise UserError(differences[0])
        files = self._files(folder, split)
        return folder_images(files.paths, torch.tensor(files.labels), self.size, train=split == "train")

    def _files(self, folder: Path, split: Split) -> _Files:
        """The images of a split; UserError for a missing, unsorted or empty folder."""
        where = folder / FOLDERS[split]
        shown = f"{folder.name}/{where.name}"
        if not where.is_dir():
            raise UserError(f"The folder '{shown}' is missing; get {self.where_to_get}.")
        classes = _folders(where)
        if not classes:
            found = f"{len(_images(where))} images but no class folders" if _images(where) else "no class folders"
            raise UserError(
                f"'{shown}' holds {found}; sort its images into {where.name}/<synset>/ by the ground truth of the "
                "official development kit ILSVRC2012_devkit_t12.tar.gz."
            )
        paths, labels = [], []
        for label, name in enumerate(classes):
            images = _images(where / name)
            if not images:
                raise UserError(
                    f"The class folder '{shown}/{name}' holds no image ({', '.join(ENDINGS)}); copy its images again, "
                    "or delete the folder from train and val."
                )
            paths += images
            labels += [label] * len(images)
        return _Files(classes, paths, labels)

    def _differences(self, folder: Path) -> list[str]:
        train, val = set(_folders(folder / "train")), set(_folders(folder / "val"))
        if train == val or not train or not val:
            return []
        only = min(train ^ val)
        have, lack = ("train", "val") if only in train else ("val", "train")
        return [
            f"'{folder.name}' has {len(train)} classes in train and {len(val)} in val that are not the same: '{only}' "
            f"is in {have} but not in {lack}; copy or delete class folders until they agree."
        ]


def _folders(folder: Path) -> list[str]:
    """The sorted names of the folders in `folder`; none where it does not exist."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_dir())


def _images(folder: Path) -> list[Path]:
    """The sorted image files in `folder`."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.lower().endswith(ENDINGS))
    return [folder / name for name in names if name[0] != "."]
