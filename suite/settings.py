"""What methods receive: small frozen dataclasses, one per kind of problem."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from suite.artifacts import Candidates


class Images(Protocol):
    """Indexable raw labelled images."""

    labels: Tensor  # (N,) int64

    def __len__(self) -> int: ...

    def batch(self, index: Tensor, train: bool, generator: Generator) -> Tensor:
        """Images uint8 (B, C, H, W) for int64 `index` (B,).

        Where images differ in size on disk, `train` decides between a random resized crop drawn from `generator`
        and the centre crop; where they do not (CIFAR), both give the stored pixels.
        """
        ...

    def subset(self, index: Tensor) -> Images:
        """The images at `index`, in that order."""
        ...


#: Turns a uint8 batch (B, C, H, W) into normalised float32; random parts are drawn from the generator.
Augment = Callable[["Tensor", "Generator"], "Tensor"]


@dataclass(frozen=True)
class Classification:
    """Supervised image classification. `val` is for selection; the test images are never here.

    `augment` is the task's training augmentation, `normalise` its deterministic counterpart (uint8 to normalised
    float32). `shape` is (C, H, W) as evaluated. `references` are the architectures ``run.reference`` offers.
    """

    train: Images
    val: Images
    classes: int
    shape: tuple[int, int, int]
    augment: Augment
    normalise: Callable[[Tensor], Tensor]
    references: Sequence[str] = ()
    weights: str = ""  # the user's state-dict for the reference, if any

    def split(self, share: float, generator: Generator) -> tuple[Classification, Images]:
        """Carve a random `share` (0..1) of `train` off, for searches and rewards: (what is left, the share)."""
        import torch

        order = torch.randperm(len(self.train), generator=generator)
        cut = round(share * len(order))
        return replace(self, train=self.train.subset(order[cut:])), self.train.subset(order[:cut])


class Scenes(Protocol):
    """Indexable pictures with boxes and masks, in COCO's terms."""

    @property
    def categories(self) -> Sequence[str]:
        """Names; label ``k`` of a target, 1 and up, is ``categories[k - 1]``."""
        ...

    @property
    def ids(self) -> Sequence[int]:
        """The image id of each row."""
        ...

    def __len__(self) -> int: ...

    def image(self, row: int) -> Tensor:
        """uint8 (3, H, W)."""
        ...

    def target(self, row: int, with_masks: bool = False) -> dict[str, Tensor]:
        """torchvision's detection target of all objects, crowds too: ``boxes`` float32 (n, 4) x1, y1, x2, y2 in pixels,
        ``labels`` int64 (n,), ``iscrowd`` int64 (n,), and `with_masks` ``masks`` uint8 (n, H, W).
        """
        ...

    def subset(self, index: Tensor) -> Scenes:
        """The pictures at `index`, in that order."""
        ...

    def truth(self) -> dict[str, Any]:
        """The annotations of these pictures alone in COCO's own form, with its category ids, for judging."""
        ...


@dataclass(frozen=True)
class Detection:
    """Boxes, and with `masks` instance masks, in pictures. `val` is for selection; the test pictures are never here.

    `size` is the length in pixels to which a network should scale a picture's longer side.
    """

    train: Scenes
    val: Scenes
    masks: bool
    size: int


@dataclass(frozen=True)
class Suppression:
    """Boxes of a detector before suppression, in pictures to select on, with their annotations in COCO's form.

    `val` is empty where the candidates come from a file. Of each picture the judge looks at the `limit` highest scores kept.
    """

    val: Sequence[Candidates]
    truth: dict[str, Any]
    limit: int


Setting = Classification | Detection | Suppression  # a union, as further kinds arrive
