"""Pictures as features, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class PictureFeatures(NamedTuple):
    """What a detector and a backbone have made of one picture.

    `boxes` are x1, y1, x2, y2 in shares of the picture's width and height. The grid's cells lie row by row, as many in each row as
    there are rows; there are none where the features came without a grid.
    """

    regions: Tensor  # (n, D) float32, the most certain first
    boxes: Tensor  # (n, 4) float32
    grid: Tensor  # (cells, G) float32


class FeatureBatch(NamedTuple):
    """`PictureFeatures` of several pictures; regions and boxes are 0 where `present` says that there is none."""

    regions: Tensor  # (B, R, D) float32
    boxes: Tensor  # (B, R, 4) float32
    present: Tensor  # (B, R) bool; true in every row
    grid: Tensor  # (B, cells, G) float32


class CaptionedFeatures(Protocol):
    """Indexable pictures as features, with what people said of them."""

    @property
    def references(self) -> Sequence[Sequence[str]]:
        """The captions of each picture, as words with single spaces between them: what the scores count."""
        ...

    def __len__(self) -> int: ...

    def features(self, index: Tensor) -> FeatureBatch:
        """The features of the pictures at int64 `index` (B,)."""
        ...

    def subset(self, index: Tensor) -> CaptionedFeatures:
        """The pictures at `index`, in that order."""
        ...


@dataclass(frozen=True)
class Captioning:
    """Captions of pictures that are given as features. `val` is for selection; the test pictures are never here.

    `words` are those that occur often enough in the captions of `train`, in alphabetical order: all that a caption needs.
    ``reward(captions, rows)`` is the CIDEr-D (0 to 10) of each caption against the references of picture ``rows[i]`` of `train`,
    with the document frequencies of `train`. A caption should have at most `longest` words.
    """

    train: CaptionedFeatures
    val: CaptionedFeatures
    words: Sequence[str]
    reward: Callable[[Sequence[str], Sequence[int]], list[float]]
    longest: int
