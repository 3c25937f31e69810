"""Pictures in files, decoded when they are asked for, and samples of one shape in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from suite.errors import UserError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Generator, Tensor

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif")
MEMORY = 1 << 30  # bytes of decoded pictures that a set may keep


@dataclass
class PictureCache:
    """What `decode` makes of a file (or of files that belong together), kept where `count` of that size fit in `MEMORY`.

    The views of a data set share one. What is given out must not be changed in place.
    """

    decode: Callable[[Any], Any]  # to a tensor, or a PIL image
    count: int
    kept: dict[Any, Any] = field(default_factory=dict, repr=False)

    def __getitem__(self, file: Any) -> Any:
        if file in self.kept:
            return self.kept[file]
        found = self.decode(file)
        size = found.nbytes if hasattr(found, "nbytes") else 3 * found.width * found.height
        if self.count * size < MEMORY:
            self.kept[file] = found
        return found


@dataclass
class Pictures:
    """The pictures in `files` through a cache. Readers add to it what else their data set says about a picture."""

    files: Sequence[Any]
    cache: PictureCache

    def __len__(self) -> int:
        return len(self.files)

    def image(self, row: int) -> Tensor:
        """uint8 (3, H, W). UserError where the file is damaged."""
        return self.cache[self.files[row]]

    def parts(self) -> list[Callable[[], object]]:
        """A call for each picture that raises UserError where it is damaged; nothing is kept."""
        return [partial(self.cache.decode, file) for file in self.files]


@dataclass
class Stored:
    """Samples in memory (:class:`suite.settings.Images`): `values` (N, C, H, W), uint8 for pictures, and `labels` int64 (N,)."""

    values: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor, train: bool, generator: Generator) -> Tensor:
        """The stored values at `index` (B,); nothing is drawn from `generator`."""
        return self.values.index_select(0, index)

    def subset(self, index: Tensor) -> Self:
        """A copy of the samples at `index`, in that order."""
        return replace(self, values=self.values.index_select(0, index), labels=self.labels.index_select(0, index))


def picture_files(folder: Path) -> list[Path]:
    """The pictures in `folder`, sorted by name."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name[0] != "." and entry.name.lower().endswith(ENDINGS))
    return [folder / name for name in names]


def pixels_of(path: Path, mode: str = "RGB") -> Tensor:
    """The picture in a file, uint8 (3, H, W), or (1, H, W) for mode ``"L"``. UserError as of `decoded`."""
    import torch

    pixels = np.array(decoded(path, mode))
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()


def decoded(path: Path, mode: str = "RGB") -> Image.Image:
    """The picture in a file as Pillow's `mode`; UserError, naming its last three parts, where it is damaged."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert(mode)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "no image format is recognised" if isinstance(error, Image.UnidentifiedImageError) else error
        raise UserError(f"'{shown(path)}' is not a readable image ({reason}); copy it again from the official archive.") from None


def shown(path: Path) -> str:
    """The last three parts of `path`, for messages."""
    return "/".join(path.parts[-3:])
