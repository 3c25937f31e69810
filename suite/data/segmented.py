"""Pictures in which every pixel has a class, in files, decoded when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from suite.data.files import shown
from suite.data.pictures import PictureCache, Pictures, pixels_of, stored
from suite.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

NOT_COUNTED = 255


class SegmentedFile(NamedTuple):
    """A picture's file, what lists call it, and what its mask is read from: a file, or a key of annotations."""

    name: str
    image: Path
    mask: Path | int


class Counted(NamedTuple):
    """The pixels of each class in a mask, by number from 1, and the mask's longer side."""

    areas: dict[int, int]
    longest: int


@dataclass
class SegmentedPictures(Pictures):
    """Pictures with masks; `files` are of type `SegmentedFile`.

    `read_mask` gives a file's mask uint8 (H, W): 0 the background, class k of `classes` k + 1, 255 not counted.
    """

    classes: Sequence[str]
    read_mask: Callable[[SegmentedFile], np.ndarray]
    _counted: list[Counted] = field(default_factory=list, repr=False)

    def image(self, row: int) -> Tensor:
        return super().image(row)[:3]

    def mask(self, row: int) -> Tensor:
        """uint8 (H, W). UserError where it or the picture is damaged."""
        return super().image(row)[3]

    def inputs(self, row: int) -> tuple[Path, ...]:
        return (self.files[row].image,)

    def subset(self, index: Tensor) -> SegmentedPictures:
        """The pictures at `index`, in that order."""
        rows = index.tolist()
        known = [self._counted[row] for row in rows if self._counted]
        return replace(self, files=[self.files[row] for row in rows], _counted=known)

    def counted(self) -> list[Counted]:
        """Of each picture. The first call reads all masks."""
        if not self._counted:
            with ThreadPoolExecutor(os.cpu_count()) as threads:
                self._counted.extend(threads.map(lambda file: counted(self.read_mask(file)), self.files))
        return self._counted


def segmented_pictures(
    files: Sequence[SegmentedFile], classes: Sequence[str], read_mask: Callable[[SegmentedFile], np.ndarray]
) -> SegmentedPictures:
    """The pictures of `files`."""
    return SegmentedPictures(files, PictureCache(partial(_decoded, read_mask=read_mask), len(files)), classes, read_mask)


def counted(mask: np.ndarray) -> Counted:
    """Of a mask (H, W)."""
    values, pixels = np.unique(mask, return_counts=True)
    areas = {value: count for value, count in zip(values.tolist(), pixels.tolist(), strict=True) if value % NOT_COUNTED}
    return Counted(areas, max(mask.shape))


def _decoded(file: SegmentedFile, read_mask: Callable[[SegmentedFile], np.ndarray]) -> Tensor:
    """uint8 (4, H, W): the picture and its mask. UserError where their sizes differ."""
    import torch

    pixels, mask = pixels_of(file.image), torch.from_numpy(read_mask(file))[None]
    if mask.shape[1:] != pixels.shape[1:]:
        raise UserError(f"The mask of '{shown(file.image)}' has {mask.shape[2]}x{mask.shape[1]} pixels and the picture has "
                        f"{pixels.shape[2]}x{pixels.shape[1]}; copy picture and mask again from one archive.")
    return torch.cat([pixels, mask])


def mask_in_file(file: SegmentedFile, classes: int) -> np.ndarray:
    """The mask in a PNG file of class numbers, uint8 (H, W); UserError where it holds anything else."""
    assert isinstance(file.mask, Path)
    image = stored(file.mask)
    if image.mode not in ("P", "L", "1"):
        raise UserError(f"The mask '{shown(file.mask)}' has colours ({image.mode}), expected a PNG of class numbers (with a "
                        "palette, or grey); get the masks from the official archive again.")
    mask = np.array(image, dtype=np.uint8)
    unknown = (mask > classes) & (mask != NOT_COUNTED)
    if unknown.any():
        value = int(mask[unknown][0])
        raise UserError(f"The mask '{shown(file.mask)}' has the value {value} in {int((mask == value).sum())} pixels, expected 0 "
                        f"to {classes} for the {classes} classes and 255 for what is not counted; save it with class numbers.")
    return mask
