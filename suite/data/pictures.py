"""Pictures in files, decoded when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.errors import UserError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

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

    @classmethod
    def of(cls, files: Sequence[Path]) -> Pictures:
        """Colour pictures of any size."""
        return cls(files, PictureCache(pixels_of, len(files)))

    def __len__(self) -> int:
        return len(self.files)

    def image(self, row: int) -> Tensor:
        """uint8 (3, H, W). UserError where the file is damaged."""
        return self.cache[self.files[row]]

    def parts(self) -> list[Callable[[], object]]:
        """A call for each picture that raises UserError where it is damaged; nothing is kept."""
        return [partial(self.cache.decode, file) for file in self.files]


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
