"""Pictures in files, decoded when they are asked for, and samples of one shape in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from suite.data.files import readable_name, shown, size_of, sum_of
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

    def inputs(self, row: int) -> tuple[Path, ...]:
        """The files of an item that a network sees, its truth left out."""
        return (self.files[row],)

    def file_sizes(self, row: int) -> object:
        """In bytes, of an item's files in whatever order (:class:`suite.data.overlap.Comparable`)."""
        return tuple(sorted(map(size_of, self.inputs(row))))

    def content(self, row: int) -> object:
        """The sums of an item's files, in whatever order: two pictures in one another's place are the same pair."""
        return tuple(sorted(map(sum_of, self.inputs(row))))

    def is_constant(self, row: int) -> bool:
        """Whether each picture of an item is of one colour."""
        return all(one_value(pixels_of(path), 2) for path in self.inputs(row))

    def item_name(self, row: int) -> str:
        return shown(self.inputs(row)[0])


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

    def file_sizes(self, row: int) -> object:
        """None: all are in memory, and as long as one another (:class:`suite.data.overlap.Comparable`)."""
        return ()

    def content(self, row: int) -> object:
        """The sum of a sample's values."""
        return hashlib.sha256(self.values[row].numpy().tobytes()).digest()

    def is_constant(self, row: int) -> bool:
        """Whether each channel of a sample has one value."""
        return one_value(self.values[row], 2)

    def item_name(self, row: int) -> str:
        return f"row {row}"


def one_value(values: Tensor, axes: int) -> bool:
    """Whether `values` do not change along their last `axes` axes."""
    flat = values.flatten(-axes)
    return bool((flat == flat[..., :1]).all())


def picture_files(folder: Path) -> list[Path]:
    """The pictures in `folder`, sorted by name; UserError for a name that is not UTF-8."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name[0] != "." and entry.name.lower().endswith(ENDINGS))
    return [readable_name(folder / name) for name in names]


def pixels_of(path: Path, mode: str = "RGB") -> Tensor:
    """The picture in a file, uint8 (3, H, W), or (1, H, W) for mode ``"L"``. UserError as of `decoded`."""
    import torch

    pixels = np.array(decoded(path, mode))
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()


def decoded(path: Path, mode: str = "RGB") -> Image.Image:
    """The picture in a file as Pillow's `mode`; UserError as of `stored`."""
    return stored(path).convert(mode)


def stored(path: Path) -> Image.Image:
    """The picture in a file in the mode it has there, 16-bit grey scaled to 8 bits.

    UserError, naming the file's last three parts, where it is damaged or its values have no known range.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            return image if image.mode[0] not in "IF" else _eight_bits(image, shown(path))
    except UserError:
        raise
    except Exception as error:  # Pillow's formats raise nearly anything on damaged bytes
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [""])[0] or type(error).__name__
        reason = "no image format is recognised" if isinstance(error, Image.UnidentifiedImageError) else reason
        raise UserError(f"'{shown(path)}' is not a readable image ({reason}); copy it again from the official archive.") from None


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Grey of more than 8 bits as 8, 65535 as 255: Pillow itself would make all above 255 white."""
    from PIL import Image

    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535 or (image.mode == "I" and image.format != "PNG"):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise UserError(f"'{name}' holds {kind} values, whose range nobody says; save it with 8 or 16 bits.")
    if 0 < values.max() <= 255:
        raise UserError(f"'{name}' has 16 bits and no value above {values.max()} of 65535, which is black to the eye; save it "
                        "with 8 bits.")
    return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
