"""Pictures whose pixels are judged: pairs, episodes, faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from suite.settings.images import Images


class Pairs(Protocol):
    """Indexable pairs of pictures of one place, with the mask of what has changed between them."""

    def __len__(self) -> int: ...

    def batch(self, index: Tensor, train: bool, generator: Generator) -> Tensor:
        """uint8 (B, 7, H, W) for int64 `index` (B,): first picture, second picture, mask (0 same, 1 changed, 255 not counted).

        For training, crops drawn from `generator`.
        """
        ...

    def changed(self) -> float:
        """The share of counted pixels that have changed, 0..1."""
        ...


#: Turns a batch of `Pairs` into normalised float32 pictures (B, 6, H, W) and int64 targets (B, H, W).
PairAugment = Callable[["Tensor", "Generator"], tuple["Tensor", "Tensor"]]


@dataclass(frozen=True)
class ChangePairs:
    """Supervised change detection. `val` is for selection; the test pairs are never here.

    `augment` is the task's training augmentation, `normalise` turns uint8 pictures (B, 6, H, W), the first three channels
    the earlier one, into float32. `shape` is (6, H, W) of a training crop.
    """

    train: Pairs
    val: Pairs
    shape: tuple[int, int, int]
    augment: PairAugment
    normalise: Callable[[Tensor], Tensor]


class EpisodeBatch(NamedTuple):
    """Episodes: what belongs to one class is marked in the support pictures, and to be found in the query.

    Masks are 1 where the class is, 0 elsewhere, and 255 where nothing counts, beyond a picture's edge for example.
    """

    query: Tensor  # (B, 3, S, S) uint8
    target: Tensor  # (B, S, S) uint8, the query's mask
    support: Tensor  # (B, K, 3, S, S) uint8
    masks: Tensor  # (B, K, S, S) uint8
    labels: Tensor  # (B,) int64, the class of each


class Episodes(Protocol):
    """Pictures with masks, from which episodes are drawn."""

    @property
    def shots(self) -> int:
        """K, the support pictures of an episode."""
        ...

    def __len__(self) -> int:
        """The pictures that can be a query."""
        ...

    def batch(self, index: Tensor, train: bool, generator: Generator) -> EpisodeBatch:
        """An episode for each query in int64 `index` (B,): a class of it and other pictures of that class, drawn from `generator`,
        as are flips, sizes and crops for training.
        """
        ...


@dataclass(frozen=True)
class FewShotSegmentation:
    """Segmentation of classes that are known from `shots` marked pictures alone.

    Episodes of `train` and of `val`, for selection and empty where the data is small, are of other classes than those tested,
    whose pixels are background there; the test pictures are never here. `unlabelled` are the pictures of `train`, uint8
    (B, 3, `size`, `size`), with all labels -1. `normalise` turns uint8 pictures into a network's float32 inputs.
    """

    train: Episodes
    val: Episodes
    unlabelled: Images
    shots: int
    size: int
    normalise: Callable[[Tensor], Tensor]


class Faces(Protocol):
    """Indexable face crops out of videos, original or forged, each with the mask of what is forged."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64: 0 real, 1 forged."""
        ...

    @property
    def masked(self) -> bool:
        """Whether the masks of all forged faces are known."""
        ...

    def __len__(self) -> int: ...

    def batch(self, index: Tensor, train: bool, generator: Generator) -> Tensor:
        """uint8 (B, 4, S, S) for int64 `index` (B,): RGB, and the mask cut out and scaled with it (0 real, 255 forged, between at
        borders). The mask is 0 everywhere for a real face, and where none is known.
        """
        ...

    def subset(self, index: Tensor) -> Faces:
        """The faces at `index`, in that order."""
        ...


@dataclass(frozen=True)
class FaceForgery:
    """Real faces or forged ones. `val` is for selection; the test videos, and all other videos of their people, are never here.

    In `train` faces may stand more than once, so that classes weigh alike. `augment` is the task's training augmentation: it turns
    uint8 (B, 4, S, S) into normalised float32 faces (B, 3, S, S) and float32 masks (B, 1, S, S) of 0 to 1. `normalise` turns uint8
    faces (B, 3, S, S) into float32; what it gives for 0 and 255 is -1 and 1. `shape` is (3, S, S).
    """

    train: Faces
    val: Faces
    shape: tuple[int, int, int]
    augment: PairAugment
    normalise: Callable[[Tensor], Tensor]
