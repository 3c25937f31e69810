"""Pairs of pictures in files, decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from suite.errors import UserError

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from suite.data.change import Pair

MEMORY = 1 << 30  # bytes of decoded pairs that may be kept
SAME, CHANGED, NOT_COUNTED = 0, 1, 255


class Greys(NamedTuple):
    """What the greys of a mask mean.

    `change` is ``"white"`` (255 is change, 0 is none), ``"black"`` (0 is change, 255 is none: the raw PCD masks) or
    ``"classes"`` (0 and 255, which is sky, are none, all others are kinds of change: the raw VL-CMU-CD masks). Greys in
    `ignore` count neither way, whatever they would mean.
    """

    change: str
    ignore: tuple[int, ...] = ()

    def read(self, grey: np.ndarray, shown: str) -> np.ndarray:
        """uint8 (H, W) of `SAME`, `CHANGED` and `NOT_COUNTED`. UserError for a grey that has no meaning."""
        changed = (grey == 255) if self.change == "white" else (grey == 0) if self.change == "black" else (grey % 255 != 0)
        ignored = np.isin(grey, self.ignore)
        other = ~ignored & (grey % 255 != 0)
        if self.change != "classes" and other.any():
            found, times = grey[other][0], int((grey == grey[other][0]).sum())
            raise UserError(f"The mask '{shown}' has the grey {found} in {times} pixels, expected 0 and 255 alone; leave such "
                            f"pixels out with task.ignore={found}, or count every grey between as change: task.change=classes.")
        return np.where(ignored, NOT_COUNTED, changed).astype(np.uint8)


@dataclass
class PairImages:
    """Pairs (:class:`suite.settings.Pairs`). A set that fits in `MEMORY` is decoded once and kept; views share what is kept.

    `crop` is the side of the squares that training draws, 0 for whole pictures; every pair then counts `times`, so that an
    epoch sees about all of its area.
    """

    pairs: Sequence[Pair]
    greys: Greys
    crop: int = 0
    times: int = 1
    kept: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.pairs) * self.times

    def batch(self, index: Tensor, train: bool, generator: Generator) -> Tensor:
        import torch

        chosen = [self.decoded(self.pairs[row % len(self.pairs)]) for row in index.tolist()]
        if train and self.crop:
            chosen = [_cut(pixels, self.crop, generator) for pixels in chosen]
        sizes = sorted({f"{pixels.shape[2]}x{pixels.shape[1]}" for pixels in chosen})
        if len(sizes) > 1:
            raise UserError(f"The pairs have different sizes ({sizes[0]} and {sizes[1]} pixels), which do not fit in one batch; "
                            "train on crops that fit in all of them, with task.crop=64 for example.")
        return torch.stack(chosen)

    def subset(self, index: Tensor) -> PairImages:
        """The pairs at `index`, in that order, each once."""
        return PairImages([self.pairs[row] for row in index.tolist()], self.greys, kept=self.kept)

    def crops(self, side: int) -> PairImages:
        """For training: random squares of `side` pixels; whole pictures where it is 0."""
        height, width = self.decoded(self.pairs[0]).shape[1:]
        times = max(1, round(height * width / side**2)) if side else 1
        return PairImages(self.pairs, self.greys, side, times, self.kept)

    def changed(self) -> float:
        """The share of changed pixels among those that count, 0..1."""
        changed = counted = 0
        for pair in self.pairs:
            mask = self.decoded(pair)[6]
            changed += int((mask == CHANGED).sum())
            counted += int((mask != NOT_COUNTED).sum())
        return changed / max(1, counted)

    def problems(self) -> list[str]:
        """What is wrong with the files of each pair, a sentence each."""
        found = []
        for pair in self.pairs:
            try:
                self.decoded(pair)
            except UserError as error:
                found.append(str(error))
        return found

    def sizes(self) -> str:
        """The sizes of the pictures, for people."""
        sizes = sorted({tuple(self.decoded(pair).shape[1:]) for pair in self.pairs})
        shown = [f"{width}x{height}" for height, width in sizes]
        return shown[0] if len(shown) == 1 else f"{shown[0]} to {shown[-1]}"

    def decoded(self, pair: Pair) -> Tensor:
        """uint8 (7, H, W). UserError where a file is unreadable, the sizes differ, or the mask has an unknown grey."""
        import torch

        key = str(pair.mask)
        if key in self.kept:
            return self.kept[key]
        first, second = (_pixels(path, "RGB") for path in (pair.first, pair.second))
        grey = _pixels(pair.mask, "L")
        for path, pixels in ((pair.second, second), (pair.mask, grey)):
            if pixels.shape[:2] != first.shape[:2]:
                sizes = [f"{item.shape[1]}x{item.shape[0]}" for item in (pixels, first)]
                raise UserError(f"'{_shown(path)}' has {sizes[0]} pixels and '{_shown(pair.first)}' has {sizes[1]}; the pictures "
                                "and the mask of a pair must have one size, so copy the pair again.")
        mask = self.greys.read(grey, _shown(pair.mask))
        pixels = np.concatenate([first, second, mask[..., None]], 2).transpose(2, 0, 1)
        whole = torch.from_numpy(np.ascontiguousarray(pixels))
        if len(self.pairs) * whole.numel() < MEMORY:
            self.kept[key] = whole
        return whole


def _shown(path: Path) -> str:
    return "/".join(path.parts[-3:])


def _pixels(path: Path, mode: str) -> np.ndarray:
    """uint8 (H, W, 3) or (H, W); UserError where the file is damaged."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert(mode))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "no image format is recognised" if isinstance(error, Image.UnidentifiedImageError) else error
        raise UserError(f"'{_shown(path)}' is not a readable image ({reason}); copy it again.") from None


def _cut(pixels: Tensor, side: int, generator: Generator) -> Tensor:
    """A random square of `side` pixels, or all that the picture has in a direction where it is smaller."""
    import torch

    height, width = pixels.shape[1:]
    top = int(torch.randint(max(0, height - side) + 1, (), generator=generator))
    left = int(torch.randint(max(0, width - side) + 1, (), generator=generator))
    return pixels[:, top : top + side, left : left + side]
