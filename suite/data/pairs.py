"""Pairs of pictures in files, decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from suite.data.pictures import PictureCache, Pictures, pixels_of, shown
from suite.errors import UserError

if TYPE_CHECKING:
    from torch import Generator, Tensor

SAME, CHANGED, NOT_COUNTED = 0, 1, 255


class Pair(NamedTuple):
    """The files of a pair, the earlier picture first, and what to call it."""

    name: str
    first: Path
    second: Path
    mask: Path


class Greys(NamedTuple):
    """What the greys of a mask mean.

    `change` is ``"white"`` (255 is change, 0 is none), ``"black"`` (0 is change, 255 is none: the raw PCD masks) or
    ``"classes"`` (0 and 255, which is sky, are none, all others are kinds of change: the raw VL-CMU-CD masks). Greys in
    `ignore` count neither way, whatever they would mean.
    """

    change: str
    ignore: tuple[int, ...] = ()

    def read(self, grey: np.ndarray, name: str) -> np.ndarray:
        """uint8 of the shape of `grey`, of `SAME`, `CHANGED` and `NOT_COUNTED`. UserError for a grey that has no meaning."""
        changed = (grey == 255) if self.change == "white" else (grey == 0) if self.change == "black" else (grey % 255 != 0)
        ignored = np.isin(grey, self.ignore)
        other = ~ignored & (grey % 255 != 0)
        if self.change != "classes" and other.any():
            found, times = grey[other][0], int((grey == grey[other][0]).sum())
            raise UserError(f"The mask '{name}' has the grey {found} in {times} pixels, expected 0 and 255 alone; leave such "
                            f"pixels out with task.ignore={found}, or count every grey between as change: task.change=classes.")
        return np.where(ignored, NOT_COUNTED, changed).astype(np.uint8)


@dataclass
class PairImages(Pictures):
    """Pairs (:class:`suite.settings.Pairs`); `files` are of type `Pair`.

    `crop` is the side of the squares that training draws, 0 for whole pictures; every pair then counts `times`, so that an
    epoch sees about all of its area.
    """

    crop: int = 0
    times: int = 1

    @property
    def pairs(self) -> Sequence[Pair]:
        return self.files

    def __len__(self) -> int:
        return len(self.files) * self.times

    def batch(self, index: Tensor, train: bool, generator: Generator) -> Tensor:
        import torch

        chosen = [self.image(row % len(self.files)) for row in index.tolist()]
        if train and self.crop:
            chosen = [_cut(pixels, self.crop, generator) for pixels in chosen]
        sizes = sorted({f"{pixels.shape[2]}x{pixels.shape[1]}" for pixels in chosen})
        if len(sizes) > 1:
            raise UserError(f"The pairs have different sizes ({sizes[0]} and {sizes[1]} pixels), which do not fit in one batch; "
                            "train on crops that fit in all of them, with task.crop=64 for example.")
        return torch.stack(chosen)

    def subset(self, index: Tensor) -> PairImages:
        """The pairs at `index`, in that order, each once."""
        return replace(self, files=[self.files[row] for row in index.tolist()], crop=0, times=1)

    def crops(self, side: int) -> PairImages:
        """For training: random squares of `side` pixels; whole pictures where it is 0."""
        height, width = self.image(0).shape[1:]
        times = max(1, round(height * width / side**2)) if side else 1
        return replace(self, crop=side, times=times)

    def changed(self) -> float:
        """The share of changed pixels among those that count, 0..1."""
        changed = counted = 0
        for row in range(len(self.files)):
            mask = self.image(row)[6]
            changed += int((mask == CHANGED).sum())
            counted += int((mask != NOT_COUNTED).sum())
        return changed / max(1, counted)

    def sizes(self) -> str:
        """The sizes of the pictures, for people."""
        sizes = sorted({tuple(self.image(row).shape[1:]) for row in range(len(self.files))})
        texts = [f"{width}x{height}" for height, width in sizes]
        return texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}"


def pair_images(pairs: Sequence[Pair], greys: Greys) -> PairImages:
    """`pairs`, whole, with masks read by `greys`."""
    return PairImages(pairs, PictureCache(partial(_decoded, greys=greys), len(pairs)))


def _decoded(pair: Pair, greys: Greys) -> Tensor:
    """uint8 (7, H, W). UserError where a file is unreadable, the sizes differ, or the mask has an unknown grey."""
    import torch

    first, second, grey = pixels_of(pair.first), pixels_of(pair.second), pixels_of(pair.mask, "L")
    for path, pixels in ((pair.second, second), (pair.mask, grey)):
        if pixels.shape[1:] != first.shape[1:]:
            sizes = [f"{item.shape[2]}x{item.shape[1]}" for item in (pixels, first)]
            raise UserError(f"'{shown(path)}' has {sizes[0]} pixels and '{shown(pair.first)}' has {sizes[1]}; the pictures "
                            "and the mask of a pair must have one size, so copy the pair again.")
    return torch.cat([first, second, torch.from_numpy(greys.read(grey.numpy(), shown(pair.mask)))])


def _cut(pixels: Tensor, side: int, generator: Generator) -> Tensor:
    """A random square of `side` pixels, or all that the picture has in a direction where it is smaller."""
    import torch

    height, width = pixels.shape[1:]
    top = int(torch.randint(max(0, height - side) + 1, (), generator=generator))
    left = int(torch.randint(max(0, width - side) + 1, (), generator=generator))
    return pixels[:, top : top + side, left : left + side]
