"""What methods return: small types, one per kind of deployed object.

An artifact pickles as a whole into the suite's own cache, so that a finished run can be evaluated, counted and timed
again without training. `spare` carries what only training or judging needs; it is saved and never counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure as _Figure
    from torch import Tensor, nn


@dataclass
class Network:
    """A classifier: `module` maps normalised images (N, C, H, W) float32 to logits (N, classes).

    `stored` are the bytes of its weights where they are kept as codes, with masks and codebooks; the kernel runs what they decode
    to.
    """

    module: nn.Module
    spare: dict[str, Any] = field(default_factory=dict)
    stored: int | None = None


@dataclass
class ChangeSegmenter:
    """`module` maps normalised pairs (N, 6, H, W) float32, the earlier picture first, to logits (N, 2, H, W): same, changed."""

    module: nn.Module
    spare: dict[str, Any] = field(default_factory=dict)


@dataclass
class EpisodeSegmenter:
    """Finds a class that marked pictures show: `module` maps normalised queries (N, 3, H, W), support pictures (N, K, 3, H, W) and
    their masks (N, K, H, W) of 0 and 1, all float32, to logits (N, 2, H, W): all else, the class.

    `prior`, called with the same, gives a map (N, 1, h, w) of 0 to 1 of where the network expects the class before it decodes, for
    people to look at. It shares its weights with `module`.
    """

    module: nn.Module
    prior: nn.Module | None = None
    spare: dict[str, Any] = field(default_factory=dict)


@dataclass
class Detector:
    """Finds objects, by torchvision's convention: `module` in evaluation mode maps a list of images float32 (3, H, W) of 0 to 1
    to a list of dictionaries of ``boxes`` float32 (n, 4) x1, y1, x2, y2 in pixels, ``labels`` int64 (n,) from 1,
    ``scores`` (n,), and ``masks`` (n, 1, H, W) of 0 to 1 where it gives masks.

    `body` is what of it runs on fixed shapes, which is counted and timed: ``body.prepare(images)`` makes a batch of such a
    list, ``body(batch)`` one tensor of all raw outputs. It shares its weights with `module`. None: nothing is counted.
    Where the number of regions varies, the body has the most that may be, and ``body.seen(module, image)`` one image's.
    """

    module: nn.Module
    body: nn.Module | None = None
    spare: dict[str, Any] = field(default_factory=dict)


@dataclass
class Detections:
    """What somebody's system found: entries of COCO's results format, objects (see `suite.metrics.coco_scores`) or captions, or of
    lidar scans one for each frame, ``{"frame": its number, "labels": suite.data.kitti_labels.Objects}``; or the ``score`` of each
    face, by ``method`` (of forging), ``video`` and ``frame``.
    """

    entries: list[dict[str, Any]]
    spare: dict[str, Any] = field(default_factory=dict)


@dataclass
class CloudDetector:
    """Finds objects in lidar scans: `module` in evaluation mode maps a list of scans float32 (n, 4) to a list of dictionaries of
    ``boxes`` float32 (k, 7) and ``labels`` int64 (k,) as in `suite.settings.Clouds`, and ``scores`` (k,).

    `body` is what of it runs on fixed shapes, as in `Detector`: ``body.prepare(scans)`` makes its input, ``body(input)`` one tensor
    of all raw outputs.
    """

    module: nn.Module
    body: nn.Module
    spare: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidates:
    """The boxes of one picture before suppression: ``n`` of them, in no order.

    `anchors` are the boxes that a detector started from, where they are known; `size` is the picture's height and width.
    """

    boxes: Tensor  # (n, 4) float32 x1, y1, x2, y2 in pixels
    scores: Tensor  # (n,) float32
    labels: Tensor  # (n,) int64 from 1
    size: tuple[int, int]
    anchors: Tensor | None = None  # (n, 4) float32


@dataclass
class Suppressor:
    """`keep` maps candidates to the rows int64 (k,) of those that stay, in any order."""

    keep: Callable[[Candidates], Tensor]
    spare: dict[str, Any] = field(default_factory=dict)


@dataclass
class Captioner:
    """Says what is in pictures: `module` in evaluation mode, called with the parts of a :class:`suite.settings.FeatureBatch`, gives
    a caption for each picture, words with single spaces between them.

    `encoder` and `step` are what of it runs on fixed shapes, which is counted and timed: ``encoder(*features)`` once for a picture,
    ``step(*inputs)`` for each word; ``step.prepare(features, said)`` makes the inputs for one picture of which so many words are
    said already. They share their weights with `module`. None: nothing is counted.
    """

    module: nn.Module
    encoder: nn.Module | None = None
    step: nn.Module | None = None
    spare: dict[str, Any] = field(default_factory=dict)


@dataclass
class Retriever:
    """Describes pictures as regions: `module` in evaluation mode, called with ``*module.prepare(image)`` of an image uint8
    (3, H, W), gives boxes float32 (n, 4) x1, y1, x2, y2 in pixels of the prepared picture, one at least, and descriptors (n, D) of
    length 1, or 0 where nothing responds.

    ``prepare`` gives a tuple of which the first is the picture (1, 3, h, w). ``module.query(image, boxes)`` gives the descriptors
    (k, D) of given boxes (k, 4) in the image's pixels. A module that back-propagates says so by `gradients`.
    """

    module: nn.Module
    gradients: bool = False
    spare: dict[str, Any] = field(default_factory=dict)


Artifact = (Network | ChangeSegmenter | EpisodeSegmenter | Detector | Detections | CloudDetector | Suppressor | Captioner
            | Retriever)


class Figure(NamedTuple):
    """A named picture for people."""

    name: str
    figure: _Figure


class Timed(NamedTuple):
    """A task's own timing, on one thread: `what` took `ms` (a median), at so many `items` where it is timed at several."""

    what: str  # a name, such as "postprocess"; with items "latency" at 100, "latency" at 300
    ms: float
    items: int | None = None
    noisy: bool = False


@dataclass(frozen=True)
class Probe:
    """What to count and to time: `network` on each of `inputs`, all figures being means over them.

    An input is a tensor, or a tuple of positional arguments, be they tensors or anything else; batches of one, of equal or
    different shapes. What the network puts out may be anything that is made of tensors: dictionaries, tuples, named tuples.
    A network that back-propagates at inference (its forward calls autograd) says so by `gradients`: it is counted and timed
    with its backward passes. A function in place of a network is called as it is, and has no parameters.
    """

    network: nn.Module | Callable[..., Any]
    inputs: tuple[Tensor | tuple[Any, ...], ...]
    gradients: bool = False
