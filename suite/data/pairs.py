"""Pairs of pictures in files, decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from suite.data.files import shown
from suite.data.pictures import PictureCache, Pictures, pixels_of, stored
from suite.errors import UserError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Generator, Tensor

SAME, CHANGED, NOT_COUNTED = 0, 1, 255
COLOUR = 32  # how far the channels of a mask in greys may lie apart: a JPEG file's do a little
KINDS = range(16, 240)  # greys that are a kind of their own; others between 0 and 255 are soft edges


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
    `ignore` count neither way, whatever they would mean. Greys from `threshold` on stand for 255 and those below for 0; without
    one (0) a mask has no others.
    """

    change: str
    ignore: tuple[int, ...] = ()
    threshold: int = 0

    def read(self, grey: np.ndarray, name: str) -> np.ndarray:
        """uint8 of the shape of `grey`, of `SAME`, `CHANGED` and `NOT_COUNTED`. UserError for a grey that has no meaning."""
        ignored = np.isin(grey, self.ignore)
        if self.threshold:
            grey = np.where(grey >= self.threshold, 255, 0)
        changed = (grey == 255) if self.change == "white" else (grey == 0) if self.change == "black" else (grey % 255 != 0)
        other = ~ignored & (grey % 255 != 0)
        if self.change != "classes" and other.any():
            found, times = grey[other][0], int((grey == grey[other][0]).sum())
            raise UserError(f"The mask '{name}' has the grey {found} in {times} pixels, expected 0 and 255 alone; "
                            f"{self._advice(set(grey[~ignored].tolist()), name)}.")
        return np.where(ignored, NOT_COUNTED, changed).astype(np.uint8)

    def _advice(self, values: set[int], name: str) -> str:
        """What to type for a mask of the greys `values`; none of it takes change for its contrary."""
        lossy = name.lower().endswith((".jpg", ".jpeg"))
        half = f"task.threshold=128 ({'128 and above' if self.change == 'white' else 'below 128'} is change)"
        if values <= {0, 1, 255} and not lossy:
            rest = " task.ignore=255" if 255 in values else ""
            usual = f"masks of 0 and 1 usually mean change by 1{', and 255 is not counted' if rest else ''}"
            return f"{usual}: type {'task.change=white ' if self.change == 'black' else ''}task.threshold=1{rest}"
        odd = sorted(values - {0, 255})
        if len(odd) > 2 or lossy or not all(grey in KINDS for grey in odd):
            return f"for soft edges, as JPEG files and scaling leave them, type {half}"
        return f"leave such pixels out with task.ignore={':'.join(map(str, odd))}, or type {half}"


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

    def inputs(self, row: int) -> tuple[Path, ...]:
        return self.files[row][1:3]

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

    first, second, mask = pixels_of(pair.first), pixels_of(pair.second), read_mask(pair.mask, greys)
    for path, pixels in ((pair.second, second), (pair.mask, mask[None])):
        if pixels.shape[1:] != first.shape[1:]:
            sizes = [f"{item.shape[2]}x{item.shape[1]}" for item in (pixels, first)]
            raise UserError(f"'{shown(path)}' has {sizes[0]} pixels and '{shown(pair.first)}' has {sizes[1]}; the pictures "
                            "and the mask of a pair must have one size, so copy the pair again.")
    return torch.cat([first, second, torch.from_numpy(mask)[None]])


def read_mask(path: Path, greys: Greys) -> np.ndarray:
    """The mask in a file, uint8 (H, W) of `SAME`, `CHANGED` and `NOT_COUNTED`; UserError where it cannot be told."""
    image = stored(path)
    if problem := _unclear(image, colours=greys.change == "classes"):
        raise UserError(f"The mask '{shown(path)}' has {problem}, so what it marks cannot be told; save it in grey, 0 and 255.")
    return greys.read(np.array(image.convert("L")), shown(path))


def _unclear(image: Image.Image, colours: bool) -> str:
    """What keeps a mask from being greys alone; `colours` are fine where they are kinds of change."""
    if image.mode in ("1", "L"):
        return ""
    clear = "A" in image.getbands() or "transparency" in image.info
    if clear and (np.asarray(image.convert("RGBA"))[..., 3] < 255).any():
        return "transparent pixels"
    apart = np.ptp(np.asarray(image.convert("RGB")).astype(int), axis=2).max(initial=0)
    return "colours" if apart > COLOUR and not colours else ""


def _cut(pixels: Tensor, side: int, generator: Generator) -> Tensor:
    """A random square of `side` pixels, or all that the picture has in a direction where it is smaller."""
    import torch

    height, width = pixels.shape[1:]
    top = int(torch.randint(max(0, height - side) + 1, (), generator=generator))
    left = int(torch.randint(max(0, width - side) + 1, (), generator=generator))
    return pixels[:, top : top + side, left : left + side]
