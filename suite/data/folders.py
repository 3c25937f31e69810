"""Images for classification in files, cut to one size when they are asked for."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from suite.data.dataset import MANY
from suite.data.pictures import MEMORY, PictureCache, Pictures, decoded

if TYPE_CHECKING:
    from torch import Generator, Tensor

BILINEAR = Image.Resampling.BILINEAR
TRAIN_SHORT = 1.3  # short side of what is kept in memory for training, in output sides: room for a crop
TEST_SHORT = 256 / 224  # short side that the centre crop is taken from, in output sides


@dataclass
class FolderImages(Pictures):
    """Images of any size in files (:class:`suite.settings.Images`) with `labels` int64 (N,), given out as `size` x `size` pixels.

    For training a random resized crop (area 8 to 100 %, ratio 3/4 to 4/3; Szegedy et al. 2015) is drawn, for evaluation
    the centre is cut out of the image scaled to a short side of ``size * 256 / 224``.
    """

    labels: Tensor
    size: int

    def batch(self, index: Tensor, train: bool, generator: Generator) -> Tensor:
        """uint8 (B, 3, size, size); each image has its own random numbers, so the order of decoding does not matter."""
        import torch

        seeds = torch.randint(2**62, (len(index),), generator=generator).tolist() if train else [None] * len(index)
        chosen = [self.files[row] for row in index.tolist()]
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            cut = list(threads.map(self._cut, chosen, seeds))
        return torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).contiguous()

    def subset(self, index: Tensor) -> FolderImages:
        """The images at `index`, in that order."""
        return replace(self, files=[self.files[row] for row in index.tolist()], labels=self.labels[index])

    def parts(self) -> list[Callable[[], object]]:
        """Of more than `MANY` images one of each class."""
        parts = super().parts()
        return parts if len(parts) <= MANY else [parts[row] for row in np.unique(self.labels, return_index=True)[1]]

    def _cut(self, path: Path, seed: int | None) -> np.ndarray:
        image = self.cache[path]
        if seed is None:
            image = shrunk(image, round(self.size * TEST_SHORT), enlarge=True)
            left, top = (image.width - self.size) // 2, (image.height - self.size) // 2
            return np.asarray(image.crop((left, top, left + self.size, top + self.size)))
        box = random_box(image.width, image.height, random.Random(seed))
        return np.asarray(image.resize((self.size, self.size), BILINEAR, box=box))


def folder_images(files: Sequence[Path], labels: Tensor, size: int, train: bool) -> FolderImages:
    """`files` with `labels` (N,) at `size` pixels; where all fit in `MEMORY` they are kept, as large as a crop needs."""
    short = round(size * (TRAIN_SHORT if train else TEST_SHORT))
    fits = len(files) * short * short * 4 < MEMORY  # 3 bytes, ratio 4:3
    return FolderImages(files, PictureCache(partial(_small, short=short) if fits else decoded, len(files)), labels, size)


def _small(path: Path, short: int) -> Image.Image:
    return shrunk(decoded(path), short)


def shrunk(image: Image.Image, short: int, enlarge: bool = False) -> Image.Image:
    """`image` scaled to a short side of `short` pixels where it is larger (or, with `enlarge`, anyway)."""
    factor = short / min(image.size)
    if factor == 1 or (factor > 1 and not enlarge):
        return image
    return image.resize((max(short, round(image.width * factor)), max(short, round(image.height * factor))), BILINEAR)


def random_box(width: int, height: int, draw: random.Random) -> tuple[int, int, int, int]:
    """A box (left, top, right, bottom) of 8 to 100 % of the area with a ratio of 3/4 to 4/3, anywhere inside.

    After ten sizes that do not fit, the largest centred box of an allowed ratio.
    """
    for _ in range(10):
        area = width * height * draw.uniform(0.08, 1.0)
        ratio = math.exp(draw.uniform(math.log(3 / 4), math.log(4 / 3)))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left, top = draw.randint(0, width - wide), draw.randint(0, height - high)
            return left, top, left + wide, top + high
    wide, high = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high
