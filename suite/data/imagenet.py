"""ImageNet-1k in the folders of ILSVRC, and any other images in the same layout (ImageFolder).

Source: Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015. Training and validation
images lie in ``train/<synset>/`` and ``val/<synset>/``; labels number the sorted synsets.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from suite.data.dataset import Dataset
from suite.data.embedded import procedural
from suite.data.files import readable_name
from suite.data.pictures import ENDINGS, picture_files
from suite.errors import UserError

if TYPE_CHECKING:
    from suite.data.folders import FolderImages

SYNSET = re.compile(r"n\d{8}")
FOLDERS = {"train": "train", "test": "val"}  # the official test set has no labels


class ImageNet(Dataset):
    name = "imagenet"
    title = "ImageNet-1k (ILSVRC 2012)"
    version = procedural.VERSION
    layout = "a folder with train/<synset>/ and val/<synset>/"
    where_to_get = ("the official archives ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from image-net.org, "
                    "sorted into train/<synset>/ and val/<synset>/")
    items = "images of different sizes"
    official_counts = ({"train": 1_281_167, "test": 50_000},)
    embedded_classes = procedural.SYNSETS

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

    def class_names(self, folder: Path) -> list[str]:
        return _folders(folder / "train")

    def read(self, folder: Path, split: str) -> FolderImages:
        """The images of a split, by class and name; ``"test"`` is the official validation set.

        UserError for a missing, unsorted or empty folder, for a name that is not UTF-8, and for classes that only one split has.
        """
        import torch

        from suite.data.folders import folder_images

        self._compare(folder)
        where = folder / FOLDERS[split]
        shown = f"{folder.name}/{where.name}"
        if not where.is_dir():
            raise UserError(f"The folder '{shown}' is missing; get {self.where_to_get}.")
        classes = _folders(where)
        if not classes:
            found = f"{len(picture_files(where))} images but no class folders" if picture_files(where) else "no class folders"
            raise UserError(f"'{shown}' holds {found}; sort its images into {where.name}/<synset>/ by the ground truth of the "
                            "official development kit ILSVRC2012_devkit_t12.tar.gz.")
        paths: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            images = picture_files(readable_name(where / name))
            if not images:
                raise UserError(f"The class folder '{shown}/{name}' holds no image ({', '.join(ENDINGS)}); copy its images again, "
                                "or delete the folder from train and val.")
            paths += images
            labels += [label] * len(images)
        return folder_images(paths, torch.tensor(labels), self.size, train=split == "train")

    def _compare(self, folder: Path) -> None:
        """UserError where train and val have different classes."""
        train, val = set(_folders(folder / "train")), set(_folders(folder / "val"))
        if train and val and (different := train ^ val):
            only = min(different)
            have, lack = ("train", "val") if only in train else ("val", "train")
            raise UserError(f"'{folder.name}' has {len(train)} classes in train and {len(val)} in val that are not the same: "
                            f"'{only}' is in {have} but not in {lack}; copy or delete class folders until they agree.")


def _folders(folder: Path) -> list[str]:
    """The sorted names of the folders in `folder`; none where it does not exist."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_dir())
