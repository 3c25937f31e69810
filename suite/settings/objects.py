"""Pictures and scans with objects in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from suite.artifacts import Candidates


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


class Clouds(Protocol):
    """Indexable lidar scans with boxes: x forward, y left, z up, in metres from the lidar."""

    @property
    def categories(self) -> Sequence[str]:
        """Names; label ``k`` of a target, 1 and up, is ``categories[k - 1]``."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """The frame's number of each row."""
        ...

    def __len__(self) -> int: ...

    def points(self, row: int) -> Tensor:
        """float32 (n, 4): x, y, z and reflectance of the points in the camera's view, where objects are annotated."""
        ...

    def target(self, row: int) -> dict[str, Tensor]:
        """``boxes`` float32 (n, 7): x, y, z of the middle, length, width, height, angle from the x axis to the length in radians,
        anticlockwise from above; ``labels`` int64 (n,); ``others`` float32 (m, 7), boxes of objects of no category.
        """
        ...

    def attributes(self, row: int) -> Mapping[str, str]:
        """What kind of frame it is, as far as known: ``time``, ``weather``, ``density``."""
        ...

    def subset(self, index: Tensor) -> Clouds:
        """The frames at `index`, in that order."""
        ...


@dataclass(frozen=True)
class CloudDetection:
    """Boxes that stand on the ground, in lidar scans. `val` is for selection; the test frames are never here."""

    train: Clouds
    val: Clouds


class Gallery(Protocol):
    """Indexable pictures to be searched."""

    def __len__(self) -> int: ...

    def image(self, row: int) -> Tensor:
        """uint8 (3, H, W)."""
        ...


@dataclass(frozen=True)
class InstanceSearch:
    """Search of pictures for one object: nothing is known of the `gallery` but its pictures, and the queries come later."""

    gallery: Gallery
