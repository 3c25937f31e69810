"""Images that fit in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass
class StoredImages:
    """Images of one size (:class:`suite.settings.Images`): `pixels` uint8 (N, C, H, W), `labels` int64 (N,)."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor, train: bool, generator: Generator) -> Tensor:
        """The stored pixels at `index` (B,); nothing is drawn from `generator`."""
        return self.pixels.index_select(0, index)

    def subset(self, index: Tensor) -> StoredImages:
        """A copy of the images at `index`, in that order."""
        return StoredImages(self.pixels.index_select(0, index), self.labels.index_select(0, index))
